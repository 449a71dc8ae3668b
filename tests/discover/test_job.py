import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.discover import options
from emow2v.discover.descriptors import fill, parse_data
from emow2v.discover.module import MODULE, cml_info, trainer_xml
from emow2v.discover.names import snake_case
from emow2v.discover.places import Places, check_job_id, safe_name
from emow2v.errors import RequestError


@pytest.mark.parametrize(
    "path",
    [
        r"modules\emow2v\emow2v.trainer",
        r"modules\\emow2v\\emow2v.trainer",
        "modules/emow2v/emow2v.trainer",
        r"emow2v\emow2v.trainer",
        "emow2v/emow2v.trainer",
        "emow2v.trainer",
        r".\modules\emow2v\emow2v.trainer",
    ],
)
def test_the_module_answers_to_its_published_names(path: str) -> None:
    assert MODULE.answers_to(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "trainer",
        r"..\emow2v\emow2v.trainer",
        "modules/other/emow2v.trainer",
        "/etc/emow2v.trainer",
        "x/modules/emow2v/emow2v.trainer",
    ],
)
def test_nothing_else_is_a_module(path: str) -> None:
    assert not MODULE.answers_to(path)


def test_the_reference_reads_our_trainer_file(tmp_path: Path) -> None:
    ssi_xml = pytest.importorskip("discover_utils.utils.ssi_xml_utils")
    path = tmp_path / "emow2v.trainer"
    path.write_text(trainer_xml(), encoding="utf-8")
    trainer = ssi_xml.Trainer()
    trainer.load_from_file(path)
    assert trainer.model_create == "EmoW2V"
    assert (trainer.meta_frame_step, trainer.meta_left_ctx, trainer.meta_right_ctx) == (40, 960, 0)
    assert [(io.io_type, io.io_id) for io in trainer.meta_io] == [(port.direction, port.id) for port in MODULE.ports]


def test_cml_info_has_the_shape_nova_decodes() -> None:
    info = cml_info()
    assert set(info) == {"chains_faulty", "chains_ok", "trainer_faulty", "trainer_ok"}
    entry = json.loads(info["trainer_ok"]["modules/emow2v/emow2v.trainer"])
    assert entry["model_create"] == "EmoW2V" and entry["info_trained"] is True
    assert (entry["meta_frame_step"], entry["meta_left_ctx"], entry["meta_right_ctx"]) == (40, 960, 0)
    assert entry["model_multirole_input"] == entry["model_multi_role_input"]
    assert [io["id"] for io in json.loads(entry["meta_io"])] == [
        "audio",
        "arousal",
        "dominance",
        "valence",
        "embedding",
    ]


def test_cml_info_filters() -> None:
    assert cml_info('["stream:audio"]', '["annotation:continuous", "stream"]')["trainer_ok"]
    assert not cml_info('["stream:video"]')["trainer_ok"]
    assert not cml_info(None, '["annotation"]')["trainer_ok"]  # the stream is matched by nothing
    with pytest.raises(RequestError, match="not a JSON list of texts"):
        cml_info("[stream:video]")


def test_windows_come_from_the_trainer_where_the_form_says_nothing() -> None:
    framing = options.framing({})
    assert (framing.step_ms, framing.left_context_ms, framing.right_context_ms) == (40, 960, 0)
    assert options.framing({"frame_size": "", "left_context": " "}) == framing
    assert options.framing({"frame_size": "40", "left_context": "960", "right_context": "0"}) == framing


def test_windows_as_the_form_asks() -> None:
    framing = options.framing(
        {"frame_size": "1s", "stride": "33.3333ms", "left_context": "0", "start": "0.5", "end": "2s"}
    )
    assert framing.step_ms == Fraction("33.3333")
    assert (framing.core_ms, framing.window_ms, framing.start_ms, framing.end_ms) == (1000, 1000, 500, 2000)
    assert options.framing({"frame_size": "0"}).whole
    assert options.framing({"end": "0"}).end_ms is None


@pytest.mark.parametrize(
    "form",
    [
        {"frame_size": "abc"},
        {"frame_size": "-40"},
        {"stride": "0"},
        {"end": "None"},
        {"start": "2s", "end": "1s"},
        {"left_context": "0,5s"},
    ],
)
def test_times_that_make_no_sense_are_refused(form: dict[str, str]) -> None:
    with pytest.raises(RequestError):
        options.framing(form)


def test_options_in_both_forms() -> None:
    assert options.options({"options": '{"batch_size": "250", "x": null}'}) == {"batch_size": "250", "x": None}
    assert options.options({"opt_str": "batch_size=7;flag=True;n=None;f=0.5;name=a b"}) == {
        "batch_size": 7, "flag": True, "n": None, "f": 0.5, "name": "a b",
    }  # fmt: skip
    assert options.options({"options": "{}", "opt_str": "batch_size=7"}) == {}
    for form in ({"options": "[1]"}, {"options": "{"}, {"opt_str": "{batch_size:STRING:250}"}, {"opt_str": "a=b=c"}):
        with pytest.raises(RequestError, match="expected"):
            options.options(form)


@pytest.mark.parametrize("value", [0, -1, "abc", 2.5, True, "1e3", "٣"])
def test_batch_sizes_that_are_none(value: object) -> None:
    with pytest.raises(RequestError, match="whole number above zero"):
        options.batch_size({"batch_size": value}, 250)  # type: ignore[dict-item]


def test_batch_sizes() -> None:
    assert [options.batch_size({"batch_size": value}, 250) for value in (1, "7", "", None, 10**9)] == [
        1,
        7,
        250,
        250,
        1024,
    ]


def test_field_names_in_either_case() -> None:
    names = ["jobID", "trainerFilePath", "optStr", "frame_size", "leftContext", "dbHost", "sharedDir"]
    assert [snake_case(name) for name in names] == [
        "job_id", "trainer_file_path", "opt_str", "frame_size", "left_context", "db_host", "shared_dir",
    ]  # fmt: skip


def test_templates_reach_two_names_and_nothing_else() -> None:
    assert fill("{dataset}/{session}/{{x}}.wav", "d", "s") == "d/s/{x}.wav"
    for template in ("{dataset.__class__}", "{0}", "{", "}", "{session!r}", "{ }"):
        with pytest.raises(RequestError, match="uri_template"):
            fill(template, "d", "s")


def entry(**changes: object) -> dict[str, object]:
    return {"src": "file:stream:audio", "type": "input", "id": "audio", "uri": "a.wav", **changes}


def test_descriptors() -> None:
    entries = [
        entry(src="FILE:Stream:AUDIO:a:b"),
        entry(type="output", id="arousal", src="file:annotation:Continuous", role="r", active=False),
        entry(type="output", id="valence", src="file:annotation:continuous", active="False"),
        entry(type="extra", src="nonsense"),
        entry(type="output", id="embedding", src="request:stream:SSIStream", uri=None, active=None),
    ]
    first, last = parse_data(json.dumps(entries))
    assert (first.origin, first.kind, first.sub) == ("file", "stream", "audio")
    assert (last.origin, last.id) == ("request", "embedding")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("", "not JSON"),
        ("{}", "not a JSON list"),
        ("[1]", "not a JSON list"),
        ("[" * 100000, "not JSON"),
        (json.dumps([entry(src="ftp:stream:audio")]), "expected origin:type"),
        (json.dumps([entry(src="db:stream:audio")]), "has no name and no role"),
        (json.dumps([entry(src="url:stream:audio", uri="")]), "expected an address"),
        (json.dumps([entry(src="url:annotation:continuous", type="output")]), "not sent to addresses"),
        (json.dumps([entry(uri="")]), "neither uri nor uri_template"),
        (json.dumps([entry(uri=7)]), "expected a text"),
        (json.dumps([entry(src="request:stream:audio", uri="")]), "is empty"),
        (json.dumps([entry()] * 1001), "at most 1000"),
    ],
)
def test_data_that_cannot_be_read_is_refused(data: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        parse_data(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["src", "type", "id", "uri", "uri_template", "active", "data"]) | st.text(), inner
            )
        ),
    )
)
def test_any_json_gives_descriptors_or_a_refusal(value: object) -> None:
    try:
        parse_data(json.dumps(value))
    except RequestError as error:
        assert str(error)


@given(st.dictionaries(st.sampled_from(sorted(options.FIELDS)), st.text()))
def test_any_form_gives_options_or_a_refusal(form: dict[str, str]) -> None:
    for parse in (options.framing, options.options):
        try:
            parse(form)
        except RequestError as error:
            assert str(error)


@pytest.mark.parametrize("job_id", ["a", "job 1", "12345678", "Müller_2.b-c", "x" * 128])
def test_job_ids_that_are_fine(job_id: str) -> None:
    assert check_job_id(job_id) == job_id


@pytest.mark.parametrize(
    "job_id", ["", " ", "../x", "/etc", "a/b", "a\\b", "a..b", ".x", "-x", "a\nb", "a\0", "x" * 129, "C:x"]
)
def test_job_ids_that_are_refused(job_id: str) -> None:
    with pytest.raises(RequestError, match="jobID"):
        check_job_id(job_id)


@given(st.text())
def test_safe_names_are_one_plain_file_name(text: str) -> None:
    name = safe_name(text, "default")
    assert name == Path(name).name and not name.startswith(".") and 0 < len(name) <= 80


def test_places(tmp_path: Path) -> None:
    inside, other, outside = (tmp_path / name for name in ("data", "more", "outside"))
    for folder in (inside, other, outside):
        folder.mkdir()
        (folder / "talk.wav").touch()
    (inside / "link.wav").symlink_to(outside / "talk.wav")
    (inside / "folder").symlink_to(outside)
    (other / "only-here.wav").touch()
    places = Places([inside, other], tmp_path / "work")
    places.uploads.mkdir(parents=True)
    (places.uploads / "up.wav").touch()

    assert places.input(str(inside / "talk.wav")) == inside / "talk.wav"
    assert places.input("talk.wav") == inside / "talk.wav"
    assert places.input("only-here.wav") == other / "only-here.wav"
    assert places.input("up.wav") == places.uploads / "up.wav"
    for uri in (str(outside / "talk.wav"), "../outside/talk.wav", "link.wav", "folder/talk.wav", "/etc/passwd"):
        with pytest.raises(RequestError, match=r"outside the data folders|does not exist"):
            places.input(uri)
    with pytest.raises(RequestError, match="does not exist"):
        places.input("none.wav")

    assert places.output("x/a.annotation", ".annotation") == inside / "x" / "a.annotation"
    for uri in (
        str(outside / "a.annotation"),
        "../a.annotation",
        "folder/a.annotation",
        str(places.uploads / "a.annotation"),
    ):
        with pytest.raises(RequestError, match="outside the data folders"):
            places.output(uri, ".annotation")
    with pytest.raises(RequestError, match="does not end in"):
        places.output("talk.wav", ".annotation")
    with pytest.raises(RequestError, match="NUL"):
        places.input("a\0.wav")


def test_the_work_folder_is_no_data_folder_wherever_it_lies(tmp_path: Path) -> None:
    inside = Places([tmp_path], tmp_path / "work")
    around = Places([tmp_path / "work" / "data"], tmp_path / "work")
    (inside.uploads / "x").mkdir(parents=True)
    (around.data_dirs[0]).mkdir()
    for path in (inside.uploads / "up.wav", inside.work_dir / "results.wav", around.data_dirs[0] / "talk.wav"):
        path.touch()
    assert inside.input("up.wav") == inside.input("work/uploads/up.wav") == inside.uploads / "up.wav"
    assert around.input("talk.wav") == around.data_dirs[0] / "talk.wav"
    assert around.output("a.annotation", ".annotation").parent == around.data_dirs[0]
    for places in (inside, around):
        with pytest.raises(RequestError, match="outside the data folders"):
            places.input(str(tmp_path / "work" / "results.wav"))
        with pytest.raises(RequestError, match="outside the data folders"):
            places.output(str(tmp_path / "work" / "uploads" / "a.annotation"), ".annotation")


def test_a_job_id_never_becomes_part_of_a_path(tmp_path: Path) -> None:
    folder = Places([tmp_path], tmp_path / "work").results("../../etc")
    assert folder.parent == tmp_path / "work" / "results" and ".." not in folder.name
