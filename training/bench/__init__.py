"""The bench: every method on the same simulated people, with networks and budgets of one size, in one table.

``people``: whom it is about and the ideal answers; ``settings``: what each method is told; ``runs``: one training, its
draws and figures; ``controls``: what needs no network; ``tables`` and ``pictures``: what is shown.
"""
