"""Does a small network predict age or a cognitive score better when it sees the synthetic PET too? (Figure 5.)

The published experiment compared MRI with MRI and synthetic PET. Here two arms stand beside: somebody else's synthetic
PET, which shows what a further channel alone does, and the measured PET, which shows what there was to win. `WARNING`
says what none of it can show, and goes wherever a result goes.
"""

#: In every table and figure of a downstream experiment.
WARNING = (
    "A synthetic PET is a function of the MRI: a gain over MRI alone shows what a small network found easier to read, "
    "or what the PET model brought from its own training people. It proves no new information about the person. "
    "Do not use it as an outcome."
)
