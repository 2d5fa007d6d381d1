"""What nodes carry, by name, and reading it: a scene may be of another version, or changed by anyone."""

import json

import slicer

#: Node attributes of everything this module makes.
SYNTHETIC, KIND, TRACER, MODEL, UNITS, STATEMENT, PROVENANCE, WINDOW, SPACE = (
    f"RelAPET.{name}"
    for name in ("Synthetic", "Kind", "Tracer", "Model", "Units", "Statement", "Provenance", "Window", "Space")
)
#: Attribute that the PETs of one run have in common.
RUN = "RelAPET.Run"
#: Rows of ``regions.tsv`` as JSON, of the table that shows them in its own order and words.
ROWS = "RelAPET.Rows"
#: Role by which a PET that a batch brought into the scene knows itself: the batch takes it out again when it shows the
#: next person's. A copy, which somebody made to keep it, knows the one that it was made of.
FROM_BATCH = "RelAPET.Batch"
#: What a simulated scan's BIDS sidecar says.
SIDECAR = "RelAPET.Sidecar"
#: Roles by which a PET knows what belongs to it.
MRI_ROLE = "RelAPET.MRI"
ROLES = {
    "measured": "RelAPET.Measured",
    "uncertainty": "RelAPET.Uncertainty",
    "difference": "RelAPET.Difference",
    "departure": "RelAPET.Departure",
    "zscore": "RelAPET.ZScore",
    "metrics": "RelAPET.Metrics",
    "regions": "RelAPET.Regions",
}
#: Unit of a departure: SD over the training people's synthetic PET.
SD = "SD"
#: Unit of a measured PET's z-score: SD of the norms that the user gave.
SD_OF_NORMS = "SD of the norms"
#: By unit, code and meaning of what is measured in it.
QUANTITIES = {
    "SUVR": ("SUVR", "Standardized uptake value ratio"),
    SD: ("DEPARTURE", "Departure from the training people's synthetic PET, in SD"),
    SD_OF_NORMS: ("ZSCORE", "Z-score of the measured PET against given norms"),
}


def readDict(node, name):
    """The object in an attribute of a node; empty where there is none, or none that can be read."""
    try:
        return objectOf(json.loads(node.GetAttribute(name) or "{}"))
    except ValueError:
        return {}


def readList(node, name):
    """The list in an attribute of a node; empty where there is none, or none that can be read."""
    try:
        found = json.loads(node.GetAttribute(name) or "[]")
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def objectOf(found):
    """What was found where an object should be; empty where it is something else."""
    return found if isinstance(found, dict) else {}


def readRange(node, name, otherwise):
    """Two rising numbers in an attribute of a node, or `otherwise`."""
    try:
        low, high = json.loads(node.GetAttribute(name) or "null")
        return (low, high) if float(low) < float(high) else otherwise
    except (TypeError, ValueError):
        return otherwise


def setQuantity(volume, units, synthetic):
    """What a volume's values are, by a code of our own where there is no other, and that they have no unit."""
    code, meaning = QUANTITIES.get(units, ("RELATIVE", "Relative uptake, 0 to 1"))
    quantity, unit = slicer.vtkCodedEntry(), slicer.vtkCodedEntry()
    quantity.SetValueSchemeMeaning(code, "99RELAPET", meaning + (", synthetic" if synthetic else ""))
    unit.SetValueSchemeMeaning("1", "UCUM", "no units")
    volume.SetVoxelValueQuantity(quantity)
    volume.SetVoxelValueUnits(unit)
