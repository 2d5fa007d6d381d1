"""Matrices from voxel indices to RAS: whether two are one grid, and what a file makes of one."""

import vtk


def samePlace(one, two, dimensions):
    """Whether two matrices put two corners at the same places, to a hundredth of a millimetre or so."""
    corners = ([0, 0, 0, 1], [n - 1 for n in dimensions] + [1])
    both = [(a, b) for c in corners for a, b in zip(one.MultiplyPoint(c), two.MultiplyPoint(c), strict=True)]
    return max(abs(a - b) for a, b in both) <= 0.05


def straight(matrix):
    """The nearest matrix with axes at right angles: what the library, and a NIfTI file, make of a slight shear."""
    columns = [[matrix.GetElement(row, column) for row in range(3)] for column in range(3)]
    lengths = [vtk.vtkMath.Norm(column) for column in columns]
    axes = [[columns[column][row] / lengths[column] for column in range(3)] for row in range(3)]
    turned, found = [[0.0] * 3 for _row in range(3)], vtk.vtkMatrix4x4()
    vtk.vtkMath.Orthogonalize3x3(axes, turned)
    found.DeepCopy(matrix)
    for row in range(3):
        for column in range(3):
            found.SetElement(row, column, turned[row][column] * lengths[column])
    return found


def handedAs(wanted, image, matrix):
    """A read image and its matrix, with its slices in the order of a grid that is wanted.

    Slicer's reader turns the slices of a left-handed grid round, such as that of a T1w under a mirroring transform.
    """
    if (matrix.Determinant() < 0) == (wanted.Determinant() < 0):
        return image, matrix
    flip, turned = vtk.vtkImageFlip(), vtk.vtkMatrix4x4()
    flip.SetInputData(image)
    flip.SetFilteredAxis(2)
    flip.Update()
    turned.DeepCopy(matrix)
    last = image.GetDimensions()[2] - 1
    for row in range(3):
        turned.SetElement(row, 2, -matrix.GetElement(row, 2))
        turned.SetElement(row, 3, matrix.GetElement(row, 3) + last * matrix.GetElement(row, 2))
    return flip.GetOutput(), turned
