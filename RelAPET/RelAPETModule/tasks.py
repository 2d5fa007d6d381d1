"""Other commands of the library than a synthesis, one at a time: fetching a model, looking for devices, exporting."""

from .process import ChildProcess


class Tasks:
    """Runs a command in the background and shows its progress in the panel, as a synthesis does."""

    def __init__(self, panel, makeProcess=ChildProcess):
        self._panel, self.makeProcess = panel, makeProcess
        self._process, self.title, self._quiet, self._ofScene = None, "", False, False

    @property
    def running(self):
        return self._process is not None

    @property
    def shown(self):
        """Whether a command is running whose progress the panel shows."""
        return self.running and not self._quiet

    def start(self, title, arguments, onEnd, quiet=False, names=None, ofScene=False):
        """Begin a command; returns False when another one is running.

        onEnd(ending) hears of a success as of a failure; quiet ones show nothing in the panel; names as `ChildProcess`
        has them; ofScene: what it is about, or what it makes, is the scene's that is open now.
        """
        if self.running:
            return False
        self.title, self._quiet, self._ofScene = title, quiet, ofScene
        panel = self._panel

        def ended(ending):
            self._process = None
            if not quiet:
                panel.showBar()
                panel.ui.statusLabel.text = ""
                if not ending.ok and ending.kind != "cancelled":
                    panel.say(ending.message)
            onEnd(ending)
            panel.updatePanel()

        def progress(fraction, message, remaining):
            if not quiet:
                panel.onProgress(fraction, f"{title}: {message}", remaining or None)

        self._process = self.makeProcess(arguments, onEnd=ended, onProgress=progress, onLog=panel.log, names=names)
        panel.showBar()
        self._process.start()
        panel.updatePanel()
        return True

    def stopOfScene(self):
        """The scene is closed: returns the title of the command that ends with it, or "" where none does."""
        stopped = self.title if self.running and self._ofScene else ""
        if stopped:
            self.stopNow()
        return stopped

    def stopNow(self):
        if self._process is not None:
            self._process.cancel()
            self._process.waitForEnd(2.0)
