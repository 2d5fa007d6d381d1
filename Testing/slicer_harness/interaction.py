"""Pop-ups fail a test unless it registered an answer, so that none goes unnoticed; other side effects are recorded.

    popups.answer("confirmOkCancelDisplay", True)           # for the next one
    popups.answer("errorDisplay", None, containing="FLAIR")  # and only if its text has this in it
    popups.answer("QFileDialog.getExistingDirectory", "/some/folder")
    popups.shown  # [(function, text), ...]

Answer with what PythonQt returns: ``getOpenFileName`` gives a str there, no tuple. ``QDialog.exec`` covers every dialog
that the module makes itself; its answer may be a function, which gets the dialog and returns what exec returns.
"""

import inspect

UTIL_POPUPS = (
    "messageBox",
    "infoDisplay",
    "warningDisplay",
    "errorDisplay",
    "confirmOkCancelDisplay",
    "confirmYesNoDisplay",
    "confirmRetryCloseDisplay",
)
QT_STATIC_POPUPS = {
    "QMessageBox": ("information", "question", "warning", "critical", "about"),
    "QFileDialog": ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"),
    "QInputDialog": ("getText", "getItem", "getInt", "getDouble", "getMultiLineText"),
}


class Popups:
    """Registered answers, and the pop-ups that came."""

    def __init__(self):
        self.clear()

    def clear(self):
        self._answers = []
        self.shown = []
        self.unanswered = []

    @property
    def unused(self):
        """Answers for pop-ups that never came."""
        return [function for function, _, _ in self._answers]

    def answer(self, function, value=None, containing=""):
        """The next pop-up by ``function`` whose text contains ``containing`` returns ``value``."""
        known = {*UTIL_POPUPS, "QDialog.exec", "delayDisplay"}
        known |= {f"{cls}.{name}" for cls, names in QT_STATIC_POPUPS.items() for name in names}
        if function not in known:
            raise ValueError(f"no pop-up {function!r}: {sorted(known)}")
        self._answers.append((function, value, containing))

    def ask(self, function, text, subject=None):
        """Called in the pop-up's place."""
        self.shown.append((function, text))
        for entry in self._answers:
            wanted, value, containing = entry
            if wanted == function and containing in text:
                self._answers.remove(entry)
                return value(subject) if inspect.isfunction(value) else value
        self.unanswered.append((function, text))
        raise AssertionError(f"pop-up {function}: {text}")


class Recorder:
    """What a module asked for that a test must not do: installing packages, opening a browser, changing modules."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.pip = []  # {"function": "pip_ensure", "requirements": [str, ...], other arguments}
        self.pip_error = None  # raised by the next pip function, as if it failed or the user declined
        self.urls = []
        self.selected_modules = []
        self.status_messages = []
        self.layouts = []


popups = Popups()
recorder = Recorder()


def install(qt, slicer):
    """Replace every function that would open a window and wait for a person."""
    for name in UTIL_POPUPS:
        setattr(slicer.util, name, _util_popup(name))
    shown_briefly = slicer.util.delayDisplay

    def delayDisplay(message, autoCloseMsec=1000, parent=None, **kwargs):
        if 0 <= autoCloseMsec < 400:  # Slicer shows nothing below this either
            return shown_briefly(message, autoCloseMsec, parent, **kwargs)
        return popups.ask("delayDisplay", message)

    slicer.util.delayDisplay = delayDisplay
    for name, functions in QT_STATIC_POPUPS.items():
        for function in functions:
            setattr(getattr(qt, name), function, staticmethod(_static_popup(f"{name}.{function}")))
    for name in ("exec", "exec_"):
        for cls in (qt.QDialog, qt.QMessageBox, qt.QFileDialog, qt.QInputDialog, qt.QProgressDialog):
            setattr(cls, name, _run_dialog)
    qt.QDesktopServices.openUrl = staticmethod(_open_url)
    slicer.util.selectModule = _select_module
    slicer.util.showStatusMessage = _show_status


def _util_popup(name):
    def popup(text, *arguments, **named):
        return popups.ask(name, str(text))

    popup.__name__ = name
    return popup


def _static_popup(name):
    def popup(parent=None, *texts, **named):
        return popups.ask(name, " ".join(text for text in texts if isinstance(text, str)))

    return popup


def _run_dialog(dialog):
    text = getattr(dialog, "text", "")
    return popups.ask("QDialog.exec", f"{dialog.windowTitle} {text if isinstance(text, str) else ''}".strip(), dialog)


def _open_url(url):
    recorder.urls.append(url if isinstance(url, str) else url.toString())
    return True


def _select_module(module):
    recorder.selected_modules.append(module if isinstance(module, str) else module.name)


def _show_status(message, duration=0):
    recorder.status_messages.append(message)
    return True
