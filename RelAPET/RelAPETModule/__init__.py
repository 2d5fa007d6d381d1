"""The parts of the Slicer module: panel, logic, child process, scene, display, install step, self-test.

Thin: no numerics, and nothing but Slicer, Qt, VTK and the standard library is imported when Slicer starts.
"""
