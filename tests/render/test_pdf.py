"""render/pdf.py, render/pdf_process.py: pages of PDFs as pictures, made by a process that may die of them."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gateway.errors import DataSetError
from gateway.processes.spawning import command
from gateway.render import pdf as module
from gateway.render import pdf_process
from gateway.render.pdf import PdfOutline, draw_page, outline_of, read_outline

BLUE = "0 0 1 rg 0 0 36 36 re f"


def pdf(box: str, content: str = BLUE, *, pages: int = 1, page: str = "") -> bytes:
    """A PDF of pages of so many points with one content; `page` has further entries of each."""
    kids = " ".join(f"{number + 4} 0 R" for number in range(pages))
    objects = [
        "<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>>>",
        f"<</Type/Pages/Kids[{kids}]/Count {pages}>>",
        f"<</Length {len(content)}>>stream\n{content}\nendstream",
        *([f"<</Type/Page/Parent 2 0 R/MediaBox[{box}]/Contents 3 0 R{page}>>"] * pages),
    ]
    made, places = "%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(made))
        made += f"{number} 0 obj\n{each}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer<</Root 1 0 R/Size {len(objects) + 1}>>\n"
    return (made + end + f"startxref\n{len(made)}\n%%EOF").encode("latin-1")


def outline(data: bytes) -> PdfOutline:
    return outline_of(read_outline(data))


def picture(data: bytes, page: int = 1) -> Image.Image:
    return Image.open(io.BytesIO(draw_page(data, page)))


def test_pages_and_their_sizes():
    assert outline(pdf("0 0 72 144", pages=3)) == PdfOutline(3, [(150, 300)] * 3)


def test_a_page_is_drawn():
    shown = picture(pdf("0 0 72 72"))
    assert (shown.size, shown.mode) == ((150, 150), "RGB")
    assert (shown.getpixel((10, 140)), shown.getpixel((140, 10))) == ((0, 0, 255), (255, 255, 255))


def test_a_turned_page():
    data = pdf("0 0 72 144", page="/Rotate 90")
    assert outline(data).sizes == [picture(data).size] == [(300, 150)]


@pytest.mark.parametrize("box", ["0 0 100000 100000", "0 0 14400 2", "0 0 0.01 0.01", "0 0 -5 -5", "0 0 1e9 1"])
def test_pages_of_any_size_are_bounded(box: str):
    data = pdf(box)
    ((width, height),) = outline(data).sizes
    assert (width, height) == picture(data).size
    assert width * height <= pdf_process.MAX_PIXELS * 1.01
    assert max(width, height) <= 10_000


@pytest.mark.parametrize("data", [b"", b"%PDF", b"<html>" * 100, pdf("0 0 72 72")[:200]])
def test_what_is_no_pdf(data: bytes):
    with pytest.raises(DataSetError, match="no PDF that can be read"):
        read_outline(data)


@pytest.mark.parametrize("page", [0, 2, pdf_process.MAX_PAGES + 1])
def test_no_such_page(page: int):
    with pytest.raises(DataSetError):
        draw_page(pdf("0 0 72 72"), page)


def test_more_pages_than_are_drawn():
    found = outline(pdf("0 0 9 9", pages=pdf_process.MAX_PAGES + 1))
    assert (found.page_count, len(found.sizes)) == (pdf_process.MAX_PAGES + 1, pdf_process.MAX_PAGES)


def test_too_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_PDF_BYTES", 1 << 20)
    with pytest.raises(DataSetError, match="more than 1 MiB"):
        read_outline(bytes(2 << 20))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was killed by signal 11"),
        ("raise MemoryError", "ended with code 1"),
        ("while True: pass", "takes more than 1 s"),
    ],
)
def test_a_process_that_dies_or_hangs(program: str, words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "command", lambda *_: [sys.executable, "-c", program])
    monkeypatch.setattr(module, "_MAX_S", 1.0)
    with pytest.raises(DataSetError, match=words):
        read_outline(pdf("0 0 72 72"))


def test_the_process_has_no_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GATEWAY_SECRET", "geheim")
    program = "import os; print('GATEWAY_SECRET' in os.environ, os.getcwd())"
    monkeypatch.setattr(module, "command", lambda *_: [sys.executable, "-c", program])
    assert read_outline(b"") == b"False /\n"


def limited(program: str) -> subprocess.CompletedProcess[bytes]:
    run = command("gateway.render.pdf_process")
    run[2] = run[2].replace("import main; main()", f"import limit; limit(); {program}")
    return subprocess.run(run, capture_output=True, timeout=30, check=False)


class TestLimits:
    def test_of_memory(self):
        assert limited(f"bytearray({pdf_process.MAX_MEMORY >> 1})").returncode == 0
        assert b"MemoryError" in limited(f"bytearray({pdf_process.MAX_MEMORY})").stderr

    def test_of_time_answer_processes_and_cores(self):
        names = ("CPU", "FSIZE", "NPROC", "CORE")
        numbers = [getattr(resource, f"RLIMIT_{name}") for name in names]
        told = limited(f"import resource; print([resource.getrlimit(each) for each in {numbers}])").stdout
        expected = (pdf_process.MAX_CPU_S, pdf_process.MAX_ANSWER, 0, 0)
        assert told.decode().strip() == str([(each, each) for each in expected])

    def test_of_the_answer(self, tmp_path: Path):
        program = f"import os; os.write(os.open({str(tmp_path / 'x')!r}, os.O_CREAT | os.O_WRONLY), bytes(40 << 20))"
        limited(program)
        assert (tmp_path / "x").stat().st_size == pdf_process.MAX_ANSWER
