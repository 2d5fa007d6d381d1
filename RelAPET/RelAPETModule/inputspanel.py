"""The panel's inputs: guesses, which follow a newly loaded person, choices, which stay, and whose volumes they are."""

import qt
import slicer
from slicer.i18n import tr as _

from . import models, people
from .guessing import T1W, T2F, candidates, describeContrast, guessInputs
from .logic import comparesOne
from .words import escaped

#: Parameters and selectors alike.
ROLES = (T1W, T2F)
#: In place of a T1w that was deleted.
_GONE = object()


class InputsPanel:
    """Fills the selectors of the MRIs, and says beside each whose volume it is and of what day."""

    def __init__(self, panel):
        self._panel, self._waiting, self._hierarchy = panel, False, None
        self.forget()
        for role in ROLES:
            selector = getattr(panel.ui, f"{role}Selector")
            selector.connect("nodeActivated(vtkMRMLNode*)", lambda node, role=role: self._onActivated(role, node))

    def forget(self):
        """Nothing is known of how the selectors came to what they show, e.g. in another scene."""
        self._guessed, self._emptied, self._seen, self._pair = {}, set(), set(), None
        self.adopt()
        people.databaseTags.cache_clear()

    def adopt(self):
        """The measured PET is taken to be of the T1w that is chosen, as in a scene that was loaded."""
        self._owner = None  # the T1w beside which the measured PET was chosen; _GONE when it was deleted since
        self._left = None  # name of the measured PET that went with its T1w, and the ID of the T1w that came
        self._measured = None  # ID of the measured PET that the resolution was given for
        self._unresolved = None  # ID of one that came in its place

    def put(self, t1w, t2f):
        """Choose what a button of this panel loaded: like a guess, it makes way for the next person."""
        for role, volume in ((T1W, t1w), (T2F, t2f)):
            self._put(self._panel.parameters, role, volume)

    def choose(self, t1w, t2f):
        """Choose as the user does: it stays until another choice, whoever was loaded since."""
        for role, volume in ((T1W, t1w), (T2F, t2f)):
            self._put(self._panel.parameters, role, volume)
            self._guessed.pop(role, None)
        self._seen = _identifiers(candidates(slicer.mrmlScene))

    def _onActivated(self, role, node):
        """The user's own choice, be it of what had been guessed, or of none."""
        self._guessed.pop(role, None)
        (self._emptied.add if node is None else self._emptied.discard)(role)
        self._seen = _identifiers(candidates(slicer.mrmlScene))
        self.schedule()

    # Looking again

    def observeHierarchy(self):
        """Patients, studies and names come after the volume itself; look again then."""
        node = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        if node is self._hierarchy:
            return
        for event in ("ItemModified", "ItemReparented", "ItemUIDAdded"):
            number = getattr(slicer.vtkMRMLSubjectHierarchyNode, f"SubjectHierarchy{event}Event")
            if self._hierarchy is not None:
                self._panel.removeObserver(self._hierarchy, number, self.schedule)
            if node is not None:
                self._panel.addObserver(node, number, self.schedule)
        self._hierarchy = node

    def schedule(self, caller=None, event=None):
        """Look at the volumes once what goes on now is over: a volume gets its name and patient after it is loaded."""
        if not self._waiting:
            self._waiting = True
            qt.QTimer.singleShot(0, self._look)

    def _look(self):
        self._waiting = False
        if self._panel.parameters is not None:
            self.guess()
            self._panel.updatePanel()

    # Guessing

    def guess(self):
        """Fill what is empty, and let what was guessed before follow a person who has come since."""
        node = self._panel.parameters
        if node is None or self._panel.logic.running:
            return
        current = {role: getattr(node, role) for role in ROLES}
        for role, volume in current.items():
            if volume is not None and self._guessed.get(role) != volume.GetID():
                self._guessed.pop(role, None)
        every = candidates(slicer.mrmlScene)
        kept = {role: volume for role, volume in current.items() if volume is not None and role not in self._guessed}
        held = [volume for role, volume in current.items() if volume is not None and role in self._guessed]
        after = self._leaves(held, every) if not kept else None
        if after is not None:
            found = guessInputs(slicer.mrmlScene, after=after)
        elif kept and held and people.difference(*map(people.originOf, [*kept.values(), *held])):
            found = guessInputs(slicer.mrmlScene, kept.get(T1W), kept.get(T2F))
        else:
            found = guessInputs(slicer.mrmlScene, *current.values())
        unseen = {candidate.kind.role for candidate in every if candidate.volume.GetID() not in self._seen}
        for role, volume in zip(ROLES, found, strict=True):
            if role in kept or volume is current[role]:
                continue
            if current[role] is not None or role not in self._emptied or role in unseen:
                self._put(node, role, volume)
        if after is not None:
            self.leaveReference()  # it was of the person before

    def _put(self, node, role, volume):
        self._emptied.discard(role)
        self._guessed.pop(role, None)
        if volume is not None:
            self._guessed[role] = volume.GetID()
        setattr(node, role, volume)

    @staticmethod
    def _leaves(held, every):
        """Number of the candidate after which those of a new person come, or None when what is held stays.

        A person is new by the headers, or, where these tell nothing, when both MRIs have come since.
        """
        numbers = [candidate.number for candidate in every if candidate.volume in held]
        newer = [candidate for candidate in every if candidate.number > max(numbers, default=-1)]
        if not held or not newer:
            return None
        origins = [people.originOf(volume) for volume in held]
        if any(people.difference(newer[-1].origin, origin) for origin in origins):
            return max(numbers, default=-1)
        both = {candidate.kind.role for candidate in newer} == set(ROLES)
        return max(numbers, default=-1) if both and not people.sameStudy(newer[-1].origin, origins[0]) else None

    # The measured PET

    def leaveReference(self):
        """No measured PET is chosen any more, nor has it a resolution."""
        node = self._panel.parameters
        if node.reference is not None:
            self._left = node.reference.GetName(), _identifier(node.t1w)
        node.reference, node.referenceFwhm = None, 0.0

    def keepReference(self):
        """The measured PET and its resolution stay as long as the T1w is surely of the same person."""
        node = self._panel.parameters
        if slicer.mrmlScene.IsImporting():
            self.adopt()
            return
        if node.reference is not None:
            self._left = None
            self._keepResolution(node)
        if node.t1w is None:  # whose the PET is stays known until another T1w comes
            return
        owner, self._owner = self._owner, node.t1w
        if owner not in (None, node.t1w) and not self._isOf(owner, node.t1w):
            self.leaveReference()

    def _keepResolution(self, node):
        """The resolution is that of the measured PET it was given for, and unknown of another."""
        before, self._measured = self._measured, node.reference.GetID()
        if before not in (None, self._measured) and node.referenceFwhm:
            node.referenceFwhm, self._unresolved = 0.0, self._measured

    def _isOf(self, owner, t1w):
        """Whether the measured PET is of this T1w's person: as the T1w before it is, or by its own header."""
        pet, origin = self._panel.parameters.reference, people.originOf(t1w)
        former = people.originOf(owner) if owner is not _GONE else None
        measured = people.originOf(pet) if pet is not None else None
        same = people.surelyOne(former, origin) and people.difference(measured, origin) is None
        return same or people.surelyOne(measured, origin)

    def onNodeRemoved(self, node):
        """A T1w that is deleted is not kept in memory; nobody can tell later whose it was."""
        if node is not None and node is self._owner:
            self._owner = _GONE

    # Saying whose they are

    def update(self, request):
        """The lines beside the selectors and the notes below them."""
        ui = self._panel.ui
        for role in (*ROLES, "reference"):
            volume, label = getattr(request, role), getattr(ui, f"{role}OriginLabel")
            label.text = people.originOf(volume).words if volume is not None else ""
            label.visible = bool(label.text)
        pair = tuple(map(_identifier, (request.t1w, request.t2f)))
        every = candidates(slicer.mrmlScene)
        if pair != self._pair:
            self._pair, self._seen = pair, _identifiers(every)
        notes = self.notes(request, every)
        ui.inputsNoteLabel.text = "<br>".join(escaped(note) for note in notes)
        ui.inputsNoteLabel.visible = bool(notes)

    def notes(self, request, every):
        """Lines about the chosen inputs that the user must see before the run."""
        refusal, apart = people.compare(request)
        found = ([_("{what}.").format(what=refusal)] if refusal else []) + [f"{note}." for note in apart]
        if self._left is not None and request.reference is None and self._left[1] == _identifier(request.t1w):
            words = _("The measured PET '{name}' is not chosen any more: it was chosen for another T1w.")
            found.append(words.format(name=self._left[0]))
        if self._unresolved == _identifier(request.reference) and self._unresolved and not request.referenceFwhm:
            words = _("The resolution of the measured PET '{name}' is not known: the one given was another PET's.")
            found.append(words.format(name=request.reference.GetName()))
        if request.comparesMany:
            words = comparesOne()
            found.append(words[0].upper() + words[1:] + ".")
        if request.t1w is not None and request.t2f is None and models.doesWithout(request.model, T2F):
            found.append(_("No T2-FLAIR: the PET is drawn from the T1w alone, as this model was trained to do."))
        how = describeContrast(request.t1w)
        if how is not None:
            where = {"name": _("its name"), "header": _("its DICOM header")}[how]
            found.append(
                _("T1w '{name}' is with contrast agent, says {where}; the models know T1w without it.").format(
                    name=request.t1w.GetName(), where=where
                )
            )
        chosen = {T1W: request.t1w, T2F: request.t2f}
        for candidate in every:
            volume = chosen[candidate.kind.role]
            new = candidate.volume.GetID() not in self._seen
            if new and not (volume and people.sameStudy(candidate.origin, people.originOf(volume))):
                whose = f" ({candidate.origin.words})" if candidate.origin.words else ""
                found.append(
                    _("'{name}'{whose} was loaded later and is not chosen.").format(
                        name=candidate.volume.GetName(), whose=whose
                    )
                )
        return found


def _identifier(volume):
    return volume.GetID() if volume is not None else ""


def _identifiers(every):
    """What has been seen by whoever chose now."""
    return {candidate.volume.GetID() for candidate in every}
