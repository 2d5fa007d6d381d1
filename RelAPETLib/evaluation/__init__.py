"""Synthetic against measured PET: figures of volumes, their summary, and tables.

It knows nothing of how the volumes were made.
"""
