"""A built bank on disk: whole or not at all, mapped, and refused by name where it does not fit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from kit.banks import WordEncoder, rows, write_jsonl

from streams.errors import BankError, SettingsError
from streams.settings import load
from streams.settings.banks import CURRENT, MANIFEST, bank_digest, version_folder
from streams.settings.tree import stage_hash
from workers.match import bank as banks
from workers.match import build, columns, store
from workers.match.build import Wanted, make, revise
from workers.match.index import TemplateIndex
from workers.match.manifest import read_manifest


def quiet(_):
    pass


def built(tmp_path, count=40, encoder=None, name="bank", first=0):
    source = write_jsonl(tmp_path / f"{name}-{first}.jsonl", rows(count, first))
    make(tmp_path / name, Wanted([source]), encoder or WordEncoder(), quiet, add=first > 0, dry_run=False)
    return tmp_path / name


def opened(bank):
    return store.open_version(version_folder(bank))


def test_what_was_built_reads_back_mapped(tmp_path):
    bank = opened(built(tmp_path))
    wanted = rows(40)
    assert list(bank.ids) == [row["id"] for row in wanted]
    assert list(bank.templates) == [row["template"] for row in wanted]
    assert bank.descriptions[7] == bank.descriptions[-33] == wanted[7]["compatible_document_description"]
    assert list(bank.domains[3:6]) == [row["domain"] for row in wanted[3:6]]
    assert bank.rows["t0009"] == 9
    assert "t9999" not in bank.rows
    assert bank.complexities.tolist() == [row["template"].count("<fi>") for row in wanted]
    vectors = store.open_vectors(bank.folder)
    assert isinstance(vectors, np.memmap)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    # The index finds each description's own row.
    hits = TemplateIndex.open(bank, WordEncoder()).search(np.asarray(vectors[:6]), 1)
    assert hits.rows[:, 0].tolist() == list(range(6))


def test_a_bank_that_grew_equals_one_that_was_built_at_once(tmp_path):
    grown = built(tmp_path, 25)
    first = version_folder(grown)
    built(tmp_path, 15, first=25)
    bank, whole = opened(grown), opened(built(tmp_path, 40, name="whole"))
    assert list(bank.templates) == list(whole.templates)
    np.testing.assert_array_equal(store.open_vectors(bank.folder), store.open_vectors(whole.folder))
    assert read_manifest(bank.folder / MANIFEST).parent == first.name
    # The version before is still there, and can be named.
    assert len(banks.load(str(first))) == 25
    assert [path.name for path in store.versions(grown)] == [first.name, bank.folder.name]


def test_equal_contents_have_equal_versions_wherever_they_lie(tmp_path):
    one, two = built(tmp_path / "a"), built(tmp_path / "b")
    assert version_folder(one).name == version_folder(two).name
    other = built(tmp_path / "c", 39)
    assert version_folder(other).name != version_folder(one).name


def test_the_settings_hash_follows_the_contents_and_not_the_path(tmp_path):
    def hashed(bank):
        return stage_hash(load(match={"bank": str(bank)}), "match")

    one, two = built(tmp_path / "a"), built(tmp_path / "b")
    before = hashed(one)
    assert before == hashed(two) == hashed(version_folder(one))
    revise(one, lambda manifest: manifest, np.full(40, 0.5, np.float32))
    assert hashed(one) != before
    lines = (tmp_path / "j" / "a.jsonl").parent
    lines.mkdir()
    write_jsonl(lines / "a.jsonl", rows(3))
    mine = bank_digest(str(lines))
    write_jsonl(lines / "a.jsonl", rows(4))
    assert bank_digest(str(lines)) != mine
    with pytest.raises(SettingsError, match="neither a shipped bank"):
        hashed(tmp_path / "none")


def damage_truncated(version, name):
    path = version / name
    path.write_bytes(path.read_bytes()[:-5])


def damage_flipped(version, name):
    path = version / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def damage_missing(version, name):
    (version / name).unlink()


@pytest.mark.parametrize("name", [*store.FILES, MANIFEST])
@pytest.mark.parametrize("damage", [damage_truncated, damage_flipped, damage_missing])
def test_a_damaged_file_is_refused_by_name(tmp_path, name, damage):
    bank = built(tmp_path)
    damage(version_folder(bank), name)
    with pytest.raises(SettingsError, match=r"bank") as caught:
        banks.load.__wrapped__(str(bank))
    wanted = CURRENT if (name, damage) == (MANIFEST, damage_missing) else name
    assert wanted in str(caught.value)


def forge(bank, **changes):
    """Write a manifest that is right about itself and wrong about the files."""
    from workers.match.manifest import encode, version_of

    path = version_folder(bank) / MANIFEST
    manifest = msgspec.structs.replace(read_manifest(path), **changes)
    path.write_bytes(encode(msgspec.structs.replace(manifest, version=version_of(manifest))))


def test_an_index_or_vectors_that_do_not_fit_their_manifest_are_refused(tmp_path):
    bank = built(tmp_path)
    forge(bank, dimension=7)
    with pytest.raises(BankError, match=r"vectors\.npy does not fit"):
        opened(bank)
    forge(bank, dimension=WordEncoder.dimension, count=41)
    with pytest.raises(BankError, match=r"templates\.arrow does not fit"):
        opened(bank)
    # An index over other vectors, with digests that are right.
    other = built(tmp_path, 30, name="other")
    bank = built(tmp_path, 40, name="third")
    target = version_folder(bank)
    (target / store.INDEX).write_bytes((version_folder(other) / store.INDEX).read_bytes())
    files = dict(read_manifest(target / MANIFEST).files)
    files[store.INDEX] = read_manifest(version_folder(other) / MANIFEST).files[store.INDEX]
    forge(bank, files=files)
    with pytest.raises(BankError, match="its index holds 30 vectors"):
        TemplateIndex.open(opened(bank), WordEncoder())


def test_another_encoder_is_refused(tmp_path):
    bank = built(tmp_path)
    other = WordEncoder("another")
    with pytest.raises(BankError, match=r"vectors of 'words', match\.encoder is 'another'"):
        TemplateIndex.open(opened(bank), other)
    source = write_jsonl(tmp_path / "x.jsonl", rows(3, 50))
    with pytest.raises(BankError, match="not 'another'"):
        make(bank, Wanted([source]), other, quiet, add=True, dry_run=False)


def test_current_that_names_nothing_is_refused(tmp_path):
    bank = built(tmp_path)
    for text in ("", "nonsense", "../../etc", "0" * 32):
        (bank / CURRENT).write_text(text)
        with pytest.raises(SettingsError, match="CURRENT names"):
            version_folder(bank)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({**rows(1)[0], "id": "t0003"}, "taken by the bank"),
        ({**rows(1)[0], "id": "new", "template": "no slot"}, "no <fi>"),
        ({**rows(1)[0], "id": "new", "compatible_document_description": " "}, "is empty"),
    ],
)
def test_a_faulty_row_leaves_the_old_bank_in_use(tmp_path, line, fault):
    bank = built(tmp_path)
    before = version_folder(bank)
    source = write_jsonl(tmp_path / "bad.jsonl", [*rows(2, 60), line])
    with pytest.raises(BankError, match=r"bad\.jsonl line 3") as caught:
        make(bank, Wanted([source]), WordEncoder(), quiet, add=True, dry_run=False)
    assert fault in str(caught.value)
    assert version_folder(bank) == before
    made = make(bank, Wanted([source], skip_faulty=True), WordEncoder(), quiet, add=True, dry_run=False)
    assert made.count == 42
    assert sum(made.left_out.values()) == 1


def test_wrong_dimension_leaves_the_old_bank_in_use(tmp_path):
    bank = built(tmp_path)
    before = version_folder(bank)
    broken = WordEncoder()
    broken.encode = lambda texts: np.ones((len(texts), 3), np.float32)
    source = write_jsonl(tmp_path / "x.jsonl", rows(3, 50))
    with pytest.raises(BankError, match="no usable vectors"):
        make(bank, Wanted([source]), broken, quiet, add=True, dry_run=False)
    assert version_folder(bank) == before
    assert not list(bank.glob(".making-*"))


KILLED = """
import sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from kit.banks import WordEncoder
from workers.match import build, store
from workers.match.build import Wanted, make

place = sys.argv[3]
def stop(name, module, function):
    real = getattr(module, function)
    def called(*a, **k):
        if place == f"before {{name}}":
            print("here", flush=True); time.sleep(60)
        out = real(*a, **k)
        if place == f"after {{name}}":
            print("here", flush=True); time.sleep(60)
        return out
    setattr(module, function, called)
stop("columns", build.columns, "write")
stop("sync", store, "_sync")
stop("rename", Path, "rename")
stop("use", store, "use")
make(Path(sys.argv[1]), Wanted([Path(sys.argv[2])]), WordEncoder(), print, add=True, dry_run=False)
"""


@pytest.mark.parametrize(
    "place", ["before columns", "before sync", "before rename", "after rename", "before use"]
)
def test_killed_while_building_the_old_bank_stays_in_use(tmp_path, place):
    bank = built(tmp_path)
    before = version_folder(bank)
    source = write_jsonl(tmp_path / "more.jsonl", rows(5, 50))
    program = KILLED.format(path=[str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(bank), str(source), place], stdout=subprocess.PIPE, text=True
    )
    assert any(line.strip() == "here" for line in child.stdout)
    # Another builder is told, and nothing of the first one's is touched.
    with pytest.raises(BankError, match="another process is building it"):
        make(bank, Wanted([source]), WordEncoder(), quiet, add=True, dry_run=False)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert version_folder(bank) == before
    assert len(opened(bank)) == 40
    # The next build removes what is left and succeeds.
    made = make(bank, Wanted([source]), WordEncoder(), quiet, add=True, dry_run=False)
    assert made.count == 45
    assert len(opened(bank)) == 45
    assert not list(bank.glob(".making-*"))


def test_repeats_near_repeats_and_test_items_are_left_out_and_counted(tmp_path):
    base = rows(6)
    again = {**base[0], "id": "u1", "template": base[0]["template"].upper().replace("FI>", "fi>") + " ?!"}
    near = {**base[1], "id": "u2", "template": base[1]["template"] + " please"}
    other_page = {**base[1], "id": "u3", "template": base[1]["template"] + " kindly",
                  "compatible_document_description": "Wholly different: ships and sails."}  # fmt: skip
    item = {"id": "u4", "template": "name the seven moons that circle the distant <fi>planet</fi> we know",
            "compatible_document_description": "A page of astronomy on moons."}  # fmt: skip
    source = write_jsonl(tmp_path / "in.jsonl", [*base, again, near, other_page, item])
    test = tmp_path / "bench.jsonl"
    test.write_text('{"question": "Name the seven moons that circle the distant Vega we know"}\n')
    wanted = Wanted([source], against={"bench": str(test)})
    made = make(tmp_path / "bank", wanted, WordEncoder(), quiet, add=False, dry_run=False)
    assert made.left_out == {build.DUPLICATE: 1, build.NEAR: 1, build.CONTAMINATED: 1}
    assert list(opened(tmp_path / "bank").ids) == [*(row["id"] for row in base), "u3"]
    # What repeats the bank itself is left out by `add` too.
    more = write_jsonl(tmp_path / "more.jsonl", [{**again, "id": "v1"}, {**near, "id": "v2"}])
    with pytest.raises(BankError, match="no new template"):
        make(tmp_path / "bank", Wanted([more]), WordEncoder(), quiet, add=True, dry_run=False)


def test_a_dry_run_writes_nothing(tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", rows(5))
    made = make(tmp_path / "bank", Wanted([source]), WordEncoder(), quiet, add=False, dry_run=True)
    assert made.count == 5
    assert not (tmp_path / "bank").exists()


def test_parquet_and_other_names_of_columns(tmp_path):
    import pyarrow as pa

    table = pa.table(
        {
            "template_id": pa.array([1, 2, None]),
            "instruction_template": [row["template"] for row in rows(3)],
            "compatible_document_description": [row["compatible_document_description"] for row in rows(3)],
            "embedding": [[0.5] * 4] * 3,
        }
    )
    pq.write_table(table, tmp_path / "fine.parquet")
    fine = Wanted([tmp_path / "fine.parquet"])
    make(tmp_path / "bank", fine, WordEncoder(), quiet, add=False, dry_run=False)
    ids = list(opened(tmp_path / "bank").ids)
    assert ids[:2] == ["1", "2"]
    assert ids[2].startswith("t")
    odd = write_jsonl(tmp_path / "odd.jsonl", [{"prompt": rows(1)[0]["template"], "fits": "A page."}])
    wanted = Wanted([odd], columns={"template": "prompt", "compatible_document_description": "fits"})
    assert make(tmp_path / "odd", wanted, WordEncoder(), quiet, add=False, dry_run=False).count == 1
    with pytest.raises(BankError, match=r"odd\.jsonl line 1: there is no template"):
        make(tmp_path / "odd2", Wanted([odd]), WordEncoder(), quiet, add=False, dry_run=False)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing")
    broken = Wanted([tmp_path / "broken.parquet"])
    with pytest.raises(BankError, match="cannot be read as Parquet"):
        make(tmp_path / "b", broken, WordEncoder(), quiet, add=False, dry_run=False)


def test_a_revision_shares_the_files_that_do_not_change(tmp_path):
    bank = built(tmp_path)
    old = version_folder(bank)
    keep = np.ones(40, np.float32)
    keep[3] = 0
    made = revise(bank, lambda manifest: msgspec.structs.replace(manifest, disabled=1), keep)
    new = version_folder(bank)
    assert new.name == made.version != old.name
    assert (new / store.VECTORS).stat().st_ino == (old / store.VECTORS).stat().st_ino
    assert opened(bank).keep[3] == 0
    # What is disabled stays so when the bank grows.
    built(tmp_path, 5, first=40)
    assert opened(bank).keep.tolist() == [1, 1, 1, 0, *[1] * 41]
    assert columns.read(old / store.TEMPLATES).column("keep").to_pylist() == [1.0] * 40


def test_building_over_something_else_is_refused(tmp_path):
    bank = built(tmp_path)
    source = write_jsonl(tmp_path / "in.jsonl", rows(3))
    with pytest.raises(BankError, match="holds a bank already"):
        make(bank, Wanted([source]), WordEncoder(), quiet, add=False, dry_run=False)
    with pytest.raises(BankError, match="is not empty"):
        make(tmp_path, Wanted([source]), WordEncoder(), quiet, add=False, dry_run=False)
    with pytest.raises(BankError, match="no built bank to add to"):
        make(tmp_path / "none", Wanted([source]), WordEncoder(), quiet, add=True, dry_run=False)
