"""Results of a run into the scene, one volume an event turn, so that the panel never stands still for long."""

import qt
from slicer.i18n import tr as _

from . import resultfiles
from .scene import SceneError

#: Milliseconds between two turns; with none Qt may take the next turn before it paints or hears of a click.
PAUSE = 10
#: What damaged or missing results raise; all else is a bug.
DAMAGED = (SceneError, OSError, KeyError, ValueError, TypeError)


class TakeOver:
    """Takes the results of a library's ``result`` line over.

    All volumes of all tracers are read, outside the scene, before any is placed, and placing is one turn: whatever
    happens between two turns, a half-taken result is never in the scene.

    Args:
        result: the ``result`` object.
        space, geometry: as `resultfiles.reading` takes them.
        tell: called with words on what comes next, a turn before it begins.
        place: called once with a list of `resultfiles.ResultFiles`; places all or none of them, and returns what
            `onEnd` gets.
        onEnd: called once as onEnd(placed, problem); problem is None, or the error that ended it. An error that is none
            of `DAMAGED` is raised as well.
    """

    def __init__(self, result, space, geometry, tell, place, onEnd):
        self._result, self._space, self._geometry = result, space, geometry
        self._tell, self._place, self._onEnd = tell, place, onEnd
        self._steps, self.placed = self._taking(), None

    def start(self):
        """Announce the first volume; the rest follows by the event loop."""
        self._turn()

    def stop(self):
        """Go no further; `onEnd` is not called. What was read is forgotten."""
        self._steps.close()
        self._tell = self._place = self._onEnd = None

    def _turn(self):
        if self._onEnd is None:
            return
        try:
            words = next(self._steps)
        except StopIteration:
            self._end(None)
        except BaseException as error:
            self._end(error)
            if not isinstance(error, DAMAGED):
                raise
        else:
            if words is not None:
                self._tell(words)
            qt.QTimer.singleShot(PAUSE, self._turn)

    def _end(self, problem):
        onEnd, placed = self._onEnd, self.placed
        self.stop()
        onEnd(placed, problem)

    def _taking(self):
        """Words on what the next turn does, turn by turn; None where it goes on with the same."""
        each = self._result.get("syntheses", [self._result])
        endings = resultfiles.ENDINGS[self._space]
        count = sum(len(resultfiles.volumesIn(one["files"], ending)) for one in each for ending in endings)
        number, read = 0, []
        for one in each:
            steps = resultfiles.reading(one["folder"], one["files"], self._space, self._geometry)
            while True:
                try:
                    title = next(steps)
                except StopIteration as done:
                    read.append(done.value)
                    break
                if title is None:
                    yield None
                    continue
                number += 1
                words = _("taking over volume {number} of {count}: {title}")
                yield words.format(number=number, count=count, title=title)
        yield _("taking over: putting the volumes into the scene")
        self.placed = self._place(read)
        yield _("taking over: showing the result")
