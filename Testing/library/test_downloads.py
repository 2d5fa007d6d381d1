"""Fetching a model over loopback: whole and verified, or not there."""

import contextlib
import http.server
import json
import shutil
import threading
import urllib.request
import zipfile

import pytest
import torch

from RelAPETLib.errors import DownloadError, ModelError, RelAPETWarning
from RelAPETLib.models import fetch, import_release_checkpoint, load_model, model_path, remove, show, verify_bundle
from RelAPETLib.models.catalogue import get_entry, home
from RelAPETLib.models.download import _HttpsOnlyRedirects, _open_https, download
from RelAPETLib.models.release import git_blob_id
from RelAPETLib.networks.generator import build_generator, release_name
from RelAPETLib.resources import resources_dir

NAME = "rela-diffusion"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of the published kind with random weights."""
    torch.manual_seed(2)
    weights = {release_name(name): torch.randn(t.shape) for name, t in build_generator().state_dict().items()}
    path = tmp_path_factory.mktemp("published") / "epoch99_checkpoint.pt"
    torch.save({"model_state_dict": weights, "epoch": 99}, path)
    return path


@pytest.fixture
def catalogue(checkpoint, tmp_path):
    """The shipped catalogue, but for the git blob id, which is that of `checkpoint`."""
    content = json.loads((resources_dir() / "models.json").read_text(encoding="utf-8"))
    content["models"][1]["source"]["git_blob_id"] = git_blob_id(checkpoint.read_bytes())
    path = tmp_path / "models.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home ü"))


class Server:
    """Serves one answer on loopback, and counts how often it was asked."""

    def __init__(self):
        #: announced: Content-Length when it is not the body's; "" sends none.
        self.body, self.announced, self.status, self.headers, self.asked = b"", None, 200, {}, 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked += 1
                self.send_response(server.status)
                length = len(server.body) if server.announced is None else server.announced
                if length != "":
                    self.send_header("Content-Length", str(length))
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client may have seen enough
                    self.wfile.write(server.body)

            def log_message(self, *args):
                """Keep the test's output clean."""

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}/file"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def opener(self, url):
        """What `fetch` calls instead of urllib: the catalogue's https address, answered from loopback."""
        assert url == get_entry(NAME)["source"]["url"]
        return urllib.request.urlopen(self.url, timeout=10)


@pytest.fixture
def server(checkpoint):
    server = Server()
    server.body = checkpoint.read_bytes()
    yield server
    server.httpd.shutdown()
    server.httpd.server_close()


def left_in_home():
    folder = home() / "models"
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def refused(server, catalogue, match, error=DownloadError):
    with pytest.raises(error, match=match) as raised:
        fetch(NAME, catalogue=catalogue, opener=server.opener)
    assert "\n" not in str(raised.value)
    assert left_in_home() == []


def test_a_download_becomes_a_verified_model_once(server, catalogue):
    told = []
    folder = fetch(NAME, catalogue=catalogue, opener=server.opener, progress=lambda f, m: told.append((f, m)))
    assert folder == home() / "models" / NAME == model_path(NAME)
    assert left_in_home() == [NAME]
    assert load_model(folder).name == NAME
    assert told[-1][0] == 1.0 and [f for f, _ in told] == sorted(f for f, _ in told) and told[0][0] < 0.1
    assert show(NAME)["installed"]

    assert fetch(NAME, catalogue=catalogue, opener=server.opener) == folder
    assert server.asked == 1


def test_the_shipped_catalogue_does_not_take_it(server, catalogue):
    """What a forged catalogue brought in is not the published model by the real one."""
    fetch(NAME, catalogue=catalogue, opener=server.opener)
    with pytest.raises(ModelError, match="not made from the file the catalogue names"):
        load_model(NAME)


def test_a_damaged_model_is_fetched_again(server, catalogue):
    folder = fetch(NAME, catalogue=catalogue, opener=server.opener)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="corrupt"):
        verify_bundle(folder)
    fetch(NAME, catalogue=catalogue, opener=server.opener)
    verify_bundle(folder)
    assert server.asked == 2 and left_in_home() == [NAME]


def test_an_interrupted_download_is_not_there_and_not_continued(server, catalogue):
    whole = server.body
    server.body, server.announced = whole[: len(whole) // 2], len(whole)
    refused(server, catalogue, "(broke off|cannot download)")
    server.body, server.announced = whole[len(whole) // 2 :], None
    refused(server, catalogue, "what came is not checkpoints/epoch99_checkpoint.pt")


def test_what_another_run_left_is_never_used(server, catalogue):
    stale = home() / "models" / f".{NAME}-abc.part"
    stale.mkdir(parents=True)
    (stale / "download").write_bytes(server.body[:1000])
    fetch(NAME, catalogue=catalogue, opener=server.opener)
    assert (stale / "download").stat().st_size == 1000 and server.asked == 1


def test_ctrl_c_leaves_nothing(server, catalogue):
    def interrupt(fraction, message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(NAME, catalogue=catalogue, opener=server.opener, progress=interrupt)
    assert left_in_home() == []


def test_another_file_is_refused(server, catalogue):
    middle = len(server.body) // 2
    server.body = server.body[:middle] + bytes([server.body[middle] ^ 1]) + server.body[middle + 1 :]
    refused(server, catalogue, "git blob [0-9a-f]{40}, not [0-9a-f]{40}; nothing was installed")
    server.body = b"version https://git-lfs.github.com/spec/v1"
    refused(server, catalogue, "nothing was installed")


def test_too_large_a_file_is_refused(server, catalogue):
    server.announced = 65 * 2**20  # only announced: refused before it comes
    refused(server, catalogue, "larger than 64 MiB")
    server.body, server.announced = bytes(65 * 2**20), ""  # announced not at all: cut off while it comes
    refused(server, catalogue, "larger than 64 MiB")


def test_server_errors_and_no_server(server, catalogue):
    server.status = 404
    refused(server, catalogue, "404.*--from-file")

    def nobody(url):
        return urllib.request.urlopen("http://127.0.0.1:9/", timeout=5)

    with pytest.raises(DownloadError, match="cannot download .*; try again, or download it elsewhere"):
        fetch(NAME, catalogue=catalogue, opener=nobody)
    assert left_in_home() == []


def test_only_https_even_behind_a_redirect(server, tmp_path):
    for url in (server.url, "ftp://example.org/x", "file:///etc/passwd"):
        with pytest.raises(DownloadError, match="is not an https address; refused"):
            download(url, tmp_path / "x", 10**6, _open_https)
    assert server.asked == 0 and not (tmp_path / "x").exists()

    server.status, server.headers = 302, {"Location": "http://127.0.0.1:9/elsewhere"}
    with pytest.raises(DownloadError, match="elsewhere is not an https address"):
        urllib.request.build_opener(_HttpsOnlyRedirects).open(server.url, timeout=10)


# Machines behind a firewall


def test_from_file_takes_the_checkpoint(checkpoint, catalogue):
    folder = fetch(NAME, from_file=checkpoint, catalogue=catalogue)
    assert load_model(folder).metadata["source"]["epoch"] == 99
    assert checkpoint.is_file()


def test_a_file_that_is_not_used_is_told_of(tmp_path):
    """The shipped model is there: whoever gives another file thinks that it counts."""
    packed = tmp_path / "newer demo.zip"
    with pytest.raises(ModelError, match="no such file: .*newer demo.zip"):
        fetch("demo", from_file=packed)
    packed.write_bytes(b"another")
    with pytest.warns(RelAPETWarning, match="demo is there already, whole, at .*newer demo.zip was not used"):
        fetch("demo", from_file=packed)


def test_from_file_checks_as_a_download_does(checkpoint, catalogue, tmp_path):
    other = tmp_path / "other.pt"
    other.write_bytes(checkpoint.read_bytes() + b"\0")
    with pytest.raises(DownloadError, match="nothing was installed"):
        fetch(NAME, from_file=other, catalogue=catalogue)
    with pytest.raises(ModelError, match="no such file"):
        fetch(NAME, from_file=tmp_path / "none", catalogue=catalogue)
    assert left_in_home() == []


@pytest.mark.parametrize("top", ["", "my model/"])
def test_from_file_takes_a_zipped_bundle(checkpoint, catalogue, tmp_path, top):
    import_release_checkpoint(checkpoint, tmp_path / "bundle", entry=get_entry(NAME, catalogue))
    packed = tmp_path / "bundle.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "bundle").rglob("*")):
            archive.write(path, top + path.relative_to(tmp_path / "bundle").as_posix())
    folder = fetch(NAME, from_file=packed, catalogue=catalogue)
    for name in ("model.safetensors", "configs/metadata.json", "LICENSE"):
        assert (folder / name).read_bytes() == (tmp_path / "bundle" / name).read_bytes()
    assert load_model(folder).name == NAME


def test_a_zipped_bundle_of_another_model_is_refused(checkpoint, catalogue, tmp_path):
    with pytest.warns(UserWarning, match="not the published checkpoint"):
        import_release_checkpoint(checkpoint, tmp_path / "bundle")
    shutil.make_archive(str(tmp_path / "other"), "zip", tmp_path / "bundle")
    with pytest.raises(ModelError, match="holds model 'rela-diffusion-other', not 'rela-diffusion'"):
        fetch(NAME, from_file=tmp_path / "other.zip", catalogue=catalogue)
    assert left_in_home() == []


# Removal


def test_remove(checkpoint, catalogue):
    folder = fetch(NAME, from_file=checkpoint, catalogue=catalogue)
    assert remove(NAME) == folder
    assert not folder.exists() and not show(NAME)["installed"]
    with pytest.raises(ModelError, match="not on this machine"):
        remove(NAME)


def test_remove_refuses_shipped_models_and_links_elsewhere(tmp_path):
    with pytest.raises(ModelError, match="comes with relapet and cannot be removed"):
        remove("demo")
    with pytest.raises(ModelError, match="no model '../x' in the catalogue"):
        remove("../x")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    (home() / "models").mkdir(parents=True)
    (home() / "models" / NAME).symlink_to(precious, target_is_directory=True)
    with pytest.raises(ModelError, match="link to another place; nothing was removed"):
        remove(NAME)
    assert (precious / "thesis.txt").read_text() == "years of work"
