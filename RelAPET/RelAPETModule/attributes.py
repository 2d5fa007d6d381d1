"""What nodes carry as JSON: a scene may be of another version or changed by anyone, so nothing is trusted."""

import json


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
