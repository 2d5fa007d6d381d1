"""The Slicer module's install step, models, samples, export and odd cases, checked over stand-in widgets."""

import ast
import hashlib
import json
import re
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
from slicer_cases import run
from slicer_module import MODULE, FakeProcess, load_part, load_volume

from RelAPETLib.models.catalogue import home

ROOT = Path(__file__).resolve().parents[2]


# Install step


def test_the_requirements_are_those_of_the_library():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = {re.split(r"[>=<]", line)[0]: line for line in load_part("install").requirements()}
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)[1]
    needed = {re.split(r"[>=<]", line)[0]: line for line in re.findall(r'"(.+?)"', block)}
    bundled = {"torch", "SimpleITK", "numpy", "pydicom"}
    assert {name: needed[name] for name in needed if name not in bundled} == named
    assert load_part("install").TORCH == needed["torch"]
    extras = [re.search(rf"^{name} = \[(.*?)\]$", text, re.MULTILINE)[1] for name in ("dicom", "report")]
    assert re.findall(r'"(.+?)"', ", ".join(extras)) == load_part("install").requirements("requirements-export.txt")


def test_what_is_missing_is_found(harness):
    install = load_part("install")
    assert install.missing() == []
    assert (
        install.isMissing("no-such-package>=1") and install.isMissing("numpy>=999") and not install.isMissing("numpy")
    )


@pytest.fixture
def lacking(widget, monkeypatch):
    """A panel in a Slicer that lacks torch and monai; a set of what is "installed" to fill."""
    install, present = load_part("install"), set()
    real = install.versionOf

    def version(requirement, folder=None):
        return None if requirement.split(">")[0] in {"torch", "monai"} - present else real(requirement, folder)

    monkeypatch.setattr(install, "versionOf", version)
    widget.install.update()
    widget.updatePanel()
    return present


def pytorch_extension(monkeypatch, install_torch):
    logic = type("PyTorchUtilsLogic", (), {"installTorch": install_torch})
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=logic))


def test_nothing_is_installed_before_it_is_asked_for(widget, lacking, harness):
    assert widget.ui.installFrame.visible and not harness.recorder.pip
    assert "PyTorch extension with the Extensions Manager" in widget.ui.installLabel.text
    assert "monai" in widget.ui.installLabel.text and "GB" in widget.ui.installLabel.text
    assert "press Install" in widget.ui.synthesizeButton.toolTip and not widget.ui.synthesizeButton.enabled
    widget.ui.installButton.click()
    assert "PyTorch extension is not installed" in widget.ui.statusLabel.text
    assert not harness.recorder.pip


def test_install(widget, lacking, harness, monkeypatch):
    asked = []

    def install_torch(self, askConfirmation=False, torchVersionRequirement=None):
        asked.append((askConfirmation, torchVersionRequirement))
        lacking.add("torch")
        return types.ModuleType("torch")

    pytorch_extension(monkeypatch, install_torch)
    widget.install.update()
    assert "by the PyTorch extension" in widget.ui.installLabel.text

    def pip(requirements, **options):
        lacking.add("monai")
        calls.append(requirements)
        if options.get("completedCallback"):
            options["completedCallback"](0)

    calls = []
    import slicer.packaging

    monkeypatch.setattr(slicer.packaging, "pip_install", _with_callbacks(pip))
    widget.ui.installButton.click()
    assert asked == [(False, ">=2.8")] and [call[-1:] for call in calls] == [["monai>=1.6.1"]]
    assert not widget.ui.installFrame.visible and "Installed" in widget.ui.statusLabel.text


def _with_callbacks(function):
    def pip_install(requirements, blocking=True, show_progress=True, logCallback=None, completedCallback=None):
        options = {"logCallback": logCallback, "completedCallback": completedCallback}
        assert blocking is False, "the panel would stand still"
        function(requirements, **options)

    return pip_install


def test_an_old_pytorch_extension_gets_only_what_it_knows(widget, lacking, monkeypatch):
    pytorch_extension(monkeypatch, lambda self: None)
    widget.ui.installButton.click()
    assert "did not install torch" in widget.ui.statusLabel.text


def test_a_failed_installation_shows_pips_last_lines(widget, lacking, monkeypatch):
    import slicer.packaging

    def pip(requirements, logCallback, completedCallback):
        for number in range(40):
            logCallback(f"line {number}")
        logCallback("ERROR: No matching distribution <found>")
        completedCallback(1)

    monkeypatch.setattr(slicer.packaging, "pip_install", _with_callbacks(pip))
    widget.install.install(wheels="/stick/wheels")
    text = widget.ui.installLabel.text
    assert "No matching distribution &lt;found>" in text and "line 39" in text and "line 5<" not in text
    assert "code 1" in widget.ui.statusLabel.text and widget.ui.installButton.enabled


def test_wheels_from_a_folder(widget, lacking, harness, monkeypatch):
    import slicer.packaging

    calls = []
    monkeypatch.setattr(
        slicer.packaging, "pip_install", _with_callbacks(lambda requirements, **_: calls.append(requirements))
    )
    harness.popups.answer("QFileDialog.getExistingDirectory", "/stick/Räder")
    widget.ui.installOfflineButton.click()
    (call,) = calls
    assert call[:3] == ["--no-index", "--find-links", "/stick/Räder"] and call[-2:] == ["torch>=2.8", "monai>=1.6.1"]
    assert not widget.ui.installButton.enabled, "not twice at once"


def test_an_older_slicer_says_what_pip_said(widget, lacking, monkeypatch, tmp_path):
    """Slicer 5.10 has no installation in the background, and its own raises an error without pip's words."""
    import slicer.packaging

    monkeypatch.delattr(slicer.packaging, "pip_install")
    monkeypatch.setattr(slicer.packaging, "pip_install", lambda requirements: None, raising=False)
    monkeypatch.setattr(load_part("install"), "TORCH", "relapet-no-such>=1")
    widget.install.update()
    widget.install.install(wheels=str(tmp_path))
    text = widget.ui.installLabel.text
    assert "No matching distribution found for relapet-no-such" in text and "code 1" in widget.ui.statusLabel.text
    assert "No matching" in widget.ui.logText.toPlainText() and widget.ui.installButton.enabled


def test_who_may_not_write_into_slicer_is_told_so_before_pip(widget, lacking, harness, monkeypatch):
    """Where an administrator installed Slicer for everybody; a folder that is not there is pip's business."""
    install = load_part("install")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    pytorch_extension(monkeypatch, lambda self: pytest.fail("torch was installed"))
    for press in (widget.ui.installButton.click, lambda: widget.install.install(wheels="/stick")):
        with monkeypatch.context() as patched:
            patched.setattr(Path, "touch", refuse)
            press()
        assert "you may not write into Slicer's folder" in widget.ui.statusLabel.text and not harness.recorder.pip
        assert widget.ui.installButton.enabled
    monkeypatch.setattr(install.sysconfig, "get_path", lambda name: "/no/such/folder")
    install.checkFolder()


def test_in_testing_nothing_is_installed_and_the_panel_comes_free(widget, lacking, monkeypatch, slicer, harness):
    """Slicer's pip_install calls nobody back there."""
    monkeypatch.setattr(type(slicer.app), "testing", True)
    widget.install.install(wheels="/stick")
    assert "--testing" in widget.ui.statusLabel.text and not harness.recorder.pip
    pytorch_extension(monkeypatch, lambda self: pytest.fail("torch was installed"))
    widget.ui.installButton.click()
    assert "--testing" in widget.ui.installLabel.text and widget.ui.installButton.enabled


@pytest.mark.parametrize("error", [subprocess.CalledProcessError(1, "pip"), RuntimeError("busy"), KeyError("x")])
def test_whatever_the_installer_raises_the_panel_comes_free(widget, lacking, monkeypatch, error):
    import slicer.packaging

    def raising(*_, **__):
        raise error

    monkeypatch.setattr(slicer.packaging, "pip_install", _with_callbacks(raising))
    widget.install.install(wheels="/stick")
    assert "Installation failed" in widget.ui.statusLabel.text and widget.ui.installButton.enabled
    pytorch_extension(monkeypatch, raising)
    widget.ui.installButton.click()
    words = widget.ui.statusLabel.text
    assert "could not install torch" in words and widget.ui.installButton.enabled
    assert "non-zero" not in words and ("Ctrl+3" in words) == hasattr(error, "returncode")


# What is installed stays as it is: pip itself is asked, with wheels that the test makes


def wheel(folder, name, version, *needs):
    """A package without content."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = "\n".join(
        ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {n}" for n in needs)]
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", "")
        file.writestr(f"{info}/METADATA", metadata + "\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


def real_pip(*extra):
    def install(requirements, logCallback, completedCallback):
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *extra, *requirements]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        for line in (done.stdout + done.stderr).splitlines():
            logCallback(line)
        completedCallback(done.returncode)

    return _with_callbacks(install)


def test_pip_is_told_to_keep_what_is_installed(widget, monkeypatch, tmp_path):
    """A package that needs another numpy is not installed, and one clear line says why."""
    import numpy
    import slicer.packaging

    install = load_part("install")
    monkeypatch.setattr(install, "requirements", lambda file="": ["relapet-wants>=1"])
    wheel(tmp_path / "wheels", "relapet_wants", "1.0", "numpy<1")
    wheel(tmp_path / "wheels", "numpy", "0.9")
    monkeypatch.setattr(slicer.packaging, "pip_install", real_pip("--dry-run"))
    widget.install.update()
    widget.install.install(wheels=str(tmp_path / "wheels"))
    words = widget.ui.statusLabel.text
    assert f"numpy=={numpy.__version__}" in words and "nothing was changed" in words, widget.ui.installLabel.text
    assert widget.ui.installButton.enabled and "ResolutionImpossible" in widget.ui.installLabel.text


def test_constraints_name_all_but_what_must_be_newer(harness):
    lines = load_part("install").constraints(["psutil>=5.9"])
    names = [line.split("==")[0] for line in lines]
    assert {"numpy", "simpleitk", "pydicom", "torch"} <= set(names) and "psutil" not in names
    assert len(names) == len(set(names))


def test_a_version_that_is_none_is_no_constraint(harness, monkeypatch, tmp_path):
    """pip would refuse all the others for it."""
    info = tmp_path / "relapet_odd-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: relapet-odd\nVersion: 1.0-built-by-hand\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    install = load_part("install")
    assert install.versionOf("relapet-odd") == "1.0-built-by-hand"
    lines = install.constraints([])
    assert any(line.startswith("numpy==") for line in lines) and not any("relapet-odd" in line for line in lines)


def test_what_slicer_uses_is_not_replaced_while_it_runs(widget, lacking, harness, monkeypatch):
    """An old version that is imported: one line with what to do instead, and no pip."""
    install = load_part("install")
    real = install.versionOf
    monkeypatch.setattr(install, "versionOf", lambda r, folder=None: "1.0" if r[:6] == "psutil" else real(r, folder))
    lacking.update(("torch", "monai"))
    import psutil

    assert psutil and install.missing() == ["psutil>=5.9"]
    widget.install.update()
    assert "psutil>=5.9 (1.0)" in widget.ui.installLabel.text
    widget.ui.installButton.click()
    assert "using an older version of psutil" in widget.ui.statusLabel.text and not harness.recorder.pip
    assert 'PythonSlicer -m pip install "psutil>=5.9"' in widget.ui.statusLabel.text and widget.ui.installButton.enabled
    monkeypatch.delitem(sys.modules, "psutil")
    assert install.inUse(["psutil>=5.9"]) == [], "not imported: it may be replaced"


# The DICOM export's packages


@pytest.fixture
def old_pydicom(widget, monkeypatch):
    """A panel in Slicer 5.10, which has pydicom 2.4.4 and no highdicom."""
    install = load_part("install")
    real, there = install.versionOf, {"pydicom": "2.4.4", "highdicom": None}

    def version(requirement, folder=None):
        name = requirement.split(">")[0]
        return there[name] if name in there and folder is None else real(requirement, folder)

    monkeypatch.setattr(install, "versionOf", version)
    widget.install.update()
    return install


def test_the_exports_packages_do_not_replace_slicers_own(widget, old_pydicom, harness, monkeypatch, tmp_path):
    """The need is said; pip puts them into a folder of their own."""
    import slicer.packaging

    assert not widget.ui.installFrame.visible and widget.ui.exportRow.visible and not widget.install.canExport
    words = widget.ui.exportLabel.text
    assert "pydicom>=3.0.1" in words and "own pydicom 2.4.4 is too old for it and stays as it is" in words
    wheels, folder = tmp_path / "wheels", old_pydicom.exportFolder()
    for package in (("pydicom", "3.0.9"), ("highdicom", "0.30", "numpy"), ("pillow", "99"), ("matplotlib", "99")):
        wheel(wheels, *package)
    # pip takes nothing from Slicer into another folder, so that Slicer's numpy must be among the wheels too.
    wheel(wheels, "numpy", *re.findall(r'"numpy==([^"]+)"', words))

    def half(requirements, logCallback, completedCallback):
        target = Path(requirements[requirements.index("--target") + 1])
        (target / "pydicom.py").touch()
        completedCallback(1)

    monkeypatch.setattr(slicer.packaging, "pip_install", _with_callbacks(half))
    widget.ui.exportInstallButton.click()
    assert "Installation failed" in widget.ui.statusLabel.text and not widget.install.canExport
    assert list(folder.parent.iterdir()) == [], "nothing half installed stays"
    assert "code 1" in widget.ui.exportLabel.text and widget.ui.exportInstallButton.enabled
    monkeypatch.setattr(slicer.packaging, "pip_install", real_pip())
    harness.popups.answer("QFileDialog.getExistingDirectory", str(wheels))
    widget.ui.exportOfflineButton.click()
    assert not widget.ui.exportRow.visible and widget.install.canExport, widget.ui.exportLabel.text
    assert (folder / "pydicom.py").is_file() and folder.is_relative_to(home())


def test_the_exports_process_alone_sees_its_packages(widget, monkeypatch):
    process, asked = load_part("process"), []
    monkeypatch.setattr(process, "libraryCommand", lambda words, packages=None: asked.append(packages) or ["x"])
    for command in (["dicom", "--pet", "x"], ["report", "x"], ["synthesize"]):
        process.ChildProcess(command, onEnd=None)
    folder = load_part("install").exportFolder()
    assert asked == [folder, folder, None]


def test_nothing_is_said_of_the_export_where_it_can_be_done(widget):
    assert not widget.ui.exportRow.visible and widget.install.canExport


# Self-test


def test_the_self_test_is_skipped_where_packages_are_missing(widget, lacking, harness, monkeypatch):
    harness.popups.answer("delayDisplay", containing="Skipped: Python packages are missing (torch>=2.8, monai>=1.6.1)")
    case = load_part("selftest").RelAPETTest("test_synthesis")
    monkeypatch.setattr(case, "messageDelay", 1000, raising=False)
    case.runTest()
    result = case.run()
    assert [reason for _, reason in result.skipped] and result.wasSuccessful()


# Models


def test_download_import_and_remove(widget, pair, tmp_path, tiny_latent, harness):
    widget.parameters.model = "rela-diffusion"
    widget.ui.modelInstallButton.click()
    process = FakeProcess.made[-1]
    assert process.arguments == ["models", "fetch", "rela-diffusion"]
    assert "wait until this is done: Download" in widget.ui.synthesizeButton.toolTip
    process.end("refused", "cannot download: no network; use --from-file")
    assert "no network" in widget.ui.statusLabel.text

    from RelAPETLib.models import import_model

    harness.popups.answer("QFileDialog.getOpenFileName", "/stick/model.zip")
    widget.ui.modelImportButton.click()
    process = FakeProcess.made[-1]
    assert process.arguments == ["models", "import", "/stick/model.zip"]
    import_model(tiny_latent)
    process.end("done", "done", result={"model": "tiny-latent"})
    assert widget.parameters.model == "tiny-latent" and widget.ui.synthesizeButton.enabled
    assert "Trained on simulated people only" in widget.ui.modelFactsLabel.text
    assert widget.ui.modelRemoveButton.enabled
    made = len(FakeProcess.made)
    harness.popups.answer("confirmOkCancelDisplay", False, containing="Delete the model")
    widget.ui.modelRemoveButton.click()
    assert len(FakeProcess.made) == made, "cancelled"
    harness.popups.answer("confirmOkCancelDisplay", True, containing="Delete the model")
    widget.ui.modelRemoveButton.click()
    assert FakeProcess.made[-1].arguments == ["models", "remove", "tiny-latent"]
    FakeProcess.made[-1].end("done", "done", result={})
    widget.ui.modelFolderButton.click()
    assert str(home() / "models") in str(harness.recorder.urls[-1])


def test_devices_and_their_memory(widget):
    devices = [
        {"device": "cpu", "name": "x", "total_gib": 24.0, "free_gib": 20.0},
        {"device": "cuda:0", "name": "NVIDIA A6000", "total_gib": 48.0, "free_gib": 40.2},
    ]
    load_part("modelpanel").ModelPanel._devicesFound(
        widget.models, load_part("process").Ending("done", "", {"devices": devices})
    )
    texts = [widget.ui.deviceSelector.itemText(i) for i in range(widget.ui.deviceSelector.count)]
    assert texts[0] == "automatic" and "NVIDIA A6000, 40 of 48 GB free" in texts[2]
    widget.ui.deviceSelector.currentIndex = 2
    assert widget.parameters.device == "cuda:0"


# Samples


def test_the_registered_sample_is_the_documented_one(harness, monkeypatch):
    registered = {}

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataCategory(category, title):
            registered["title"] = title

        @staticmethod
        def registerCustomSampleDataSource(**facts):
            registered.update(facts)

    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=SampleDataLogic))
    load_part("sampledata").registerSampleData()
    assert all(uri.startswith("https://") for uri in registered["uris"]) and len(registered["uris"]) == 2
    assert all(re.fullmatch("SHA256:[0-9a-f]{64}", checksum) for checksum in registered["checksums"])
    assert Path(registered["thumbnailFileName"]).is_file()


def test_the_samples_checksums_are_those_of_the_shared_pair(real_pair):
    files = load_part("sampledata").FILES.values()
    for path, (name, digest) in zip(real_pair, files, strict=True):
        assert path.name.endswith(name) and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_no_internet_is_one_line(widget, monkeypatch):
    class SampleDataLogic:
        def sourceForSampleName(self, name):
            return object()

        def downloadSamples(self, name):
            raise ValueError("connection refused")

    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=SampleDataLogic))
    widget.ui.sampleButton.click()
    assert "could not be downloaded: connection refused" in widget.ui.statusLabel.text


def test_the_sample_fills_the_panel(widget, monkeypatch, grid_case):
    class SampleDataLogic:
        def sourceForSampleName(self, name):
            return object()

        def downloadSamples(self, name):
            return [load_volume(grid_case["t1w"], "open_ms_T1w"), load_volume(grid_case["t2f"], "open_ms_FLAIR")]

    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=SampleDataLogic))
    widget.ui.sampleButton.click()
    assert widget.parameters.t1w.GetName() == "open_ms_T1w" and widget.ui.synthesizeButton.enabled


# Export


def test_dicom_export_is_what_the_library_reads(widget, pair, saved, tmp_path):
    """The files that the panel hands over, taken by the library's own command."""
    from RelAPETLib.cli import main

    run(widget, saved)
    widget.results.exports.exportDicom(str(tmp_path))
    process = FakeProcess.made[-1]
    assert process.arguments[0] == "dicom" and process.option("--source") is None
    assert main([*process.arguments, "--progress", "none"]) == 0
    written = list(Path(process.option("--out")).glob("*.dcm"))
    assert {"synthetic_pet_map.dcm", "uncertainty_map.dcm"} <= {path.name for path in written}
    process.end("done", "done", result={})
    assert "DICOM written to" in widget.ui.statusLabel.text
    assert not Path(process.option("--pet")).exists(), "the temporary files stay behind"


def test_dicom_export_of_a_pet_in_mni_space(widget, pair, saved, tmp_path):
    from RelAPETLib.cli import main

    widget.parameters.space = load_part("parameters").Space.BOTH
    run(widget, saved)
    widget.parameters.output = widget.results.found.pet.GetScene().GetFirstNodeByName(
        "SYNTHETIC TAU PET (patient T1w, MNI space)"
    )
    widget.results.exports.exportDicom(str(tmp_path))
    process = FakeProcess.made[-1]
    assert process.option("--pet").endswith("synthetic_pet_space-MNI.nii.gz")
    assert main([*process.arguments, "--progress", "none"]) == 0
    process.end("done", "done", result={})


def test_a_pet_without_its_record_is_not_exported(widget, pair, saved, tmp_path):
    run(widget, saved).pet.RemoveAttribute("RelAPET.Provenance")
    widget.results.exports.exportDicom(str(tmp_path))
    assert "no record of how it was made" in widget.ui.statusLabel.text and list(tmp_path.glob("SYNTH*")) == []


def test_the_t1ws_own_series_is_found(harness, slicer, monkeypatch, tmp_path):
    files = {}
    for uid in ("1.2.3", "1.2.4"):
        files[uid] = str(tmp_path / f"{uid}.dcm")
        Path(files[uid]).write_bytes(b"x")
    database = types.SimpleNamespace(fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    export = load_part("export")
    assert export.sourceFiles(volume) == []
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    assert export.sourceFiles(volume) == list(files.values())
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3 9.9.9")
    assert export.sourceFiles(volume) == [], "a series of which a file is missing is not used"


# Other Slicers


def test_the_module_file_parses_in_old_pythons():
    ast.parse((MODULE / "RelAPET.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_an_older_slicer_says_which_it_needs(harness, slicer, monkeypatch):
    monkeypatch.setattr(type(slicer.app), "minorVersion", 6)
    for name in [name for name in sys.modules if name.startswith("RelAPETModule")]:
        monkeypatch.delitem(sys.modules, name)
    widget = harness.load_module(str(MODULE / "RelAPET.py"))
    import qt

    (label,) = [w for w in widget.parent.findChildren(qt.QLabel) if "RelAPET" in w.text]
    assert label.text == "RelAPET needs 3D Slicer 5.10 or later; this is 5.6."
    assert "RelAPETModule.widget" not in sys.modules, "the package, which newer Pythons alone read, is not touched"


def test_nothing_heavy_is_imported_when_slicer_starts():
    """In a Python of its own: the module file's imports and the library's names, but no torch, SimpleITK or nibabel."""
    script = (
        f"import sys, json; sys.path[:0] = [{str(ROOT / 'Testing')!r}, {str(ROOT / 'Testing' / 'support')!r}]\n"
        "import slicer_harness as h; h.boot()\n"
        "before = set(sys.modules)\n"
        f"widget = h.load_module({str(MODULE / 'RelAPET.py')!r})\n"
        "print(json.dumps(sorted({n.split('.')[0] for n in set(sys.modules) - before})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "RelAPETModule" in loaded and not loaded & {"torch", "monai", "SimpleITK", "nibabel", "highdicom", "pydicom"}


def test_a_slicer_without_sample_data_starts_all_the_same(widget, harness):
    assert "SampleData" not in sys.modules
    harness.startup_completed()
