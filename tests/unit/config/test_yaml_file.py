"""Reading YAML: includes, duplicates, and what is wrong with a file."""

from __future__ import annotations

import pytest

from tallystick.config.yaml_file import FILE_BYTES_MAX, read_document
from tallystick.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    return write


def refusal_of(file):
    with pytest.raises(ConfigError) as caught:
        read_document(file)
    return caught.value


def test_an_empty_file_is_an_empty_configuration(write):
    assert read_document(write("a.yaml", "# nothing\n")).content == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4, column 3: the key 'c' is written twice"),
        ("a: [1\n", "line 2, column 1"),
        ("- 1\n", "must be a mapping"),
        ("just text", "must be a mapping"),
        ("? [a]\n: 1\n", "a key must be text"),
        ("a: !!python/object:os.system x\n", "could not determine a constructor"),
        (b"\xff\xfe\x00", "is not"),
        ("a: &a [*a]\n? {b: *a}\n: 1", "a key must be text"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(write, text, reason):
    file = write("a.yaml", text)
    error = refusal_of(file)
    assert error.file == str(file)
    assert reason in error.reason


def test_a_missing_file_a_directory_and_a_huge_file_are_refused(tmp_path, write):
    assert "No such file" in refusal_of(tmp_path / "absent.yaml").reason
    assert "can't be read" in refusal_of(tmp_path).reason
    assert "larger than" in refusal_of(write("a.yaml", "#" * (FILE_BYTES_MAX + 1))).reason


def test_included_lists_are_appended_and_mappings_merged(write):
    write("parts/models.yaml", "model_list: [b, c]\nsettings: {x: 2, y: {q: 2}}\ninclude: [more.yaml]")
    write("parts/more.yaml", "model_list: [d]\nother: 1")
    main = write("a.yaml", "include: parts/models.yaml\nmodel_list: [a]\nsettings: {x: 1, y: {p: 1}, z: 3}")
    document = read_document(main)
    assert document.content == {
        "model_list": ["a", "b", "c", "d"],
        "settings": {"x": 1, "y": {"p": 1, "q": 2}, "z": 3},
        "other": 1,
    }
    names = [document.file_of(("model_list", index, "x")).rsplit("/", 1)[-1] for index in range(4)]
    assert names == ["a.yaml", "models.yaml", "models.yaml", "more.yaml"]
    assert document.file_of(("settings", "x")) == str(main)
    assert document.file_of(("other",)).endswith("more.yaml")
    assert document.file_of(("nowhere",)) is None


def test_a_circle_of_includes_names_the_chain(write):
    a = write("a.yaml", "include: [b.yaml]")
    b = write("b.yaml", "include: [a.yaml]")
    assert f"includes itself: {a} -> {b} -> {a}" in refusal_of(a).reason


def test_a_missing_include_names_the_chain(write, tmp_path):
    a = write("a.yaml", "include: [b.yaml]")
    b = write("b.yaml", "include: [absent.yaml]")
    error = refusal_of(a)
    assert f"{a} -> {b} -> {tmp_path / 'absent.yaml'}: can't be read" in error.reason
    assert error.key_path == "include"


def test_includes_that_go_too_deep_are_refused(write):
    for number in range(30):
        write(f"{number}.yaml", f"include: {number + 1}.yaml")
    assert "deeper" in refusal_of(write("a.yaml", "include: [0.yaml]")).reason


@pytest.mark.parametrize("include", ["5", "[5]", "{a: b}"])
def test_include_must_be_file_names(write, include):
    assert refusal_of(write("a.yaml", f"include: {include}")).key_path == "include"


def test_two_kinds_of_value_do_not_merge(write):
    write("b.yaml", "settings: [1]")
    assert "another kind" in refusal_of(write("a.yaml", "include: [b.yaml]\nsettings: {x: 1}")).reason


def test_merge_keys_of_yaml_still_work(write):
    text = "base: &base {x: 1, y: 2}\nderived:\n  <<: *base\n  y: 3\n"
    assert read_document(write("a.yaml", text)).content["derived"] == {"x": 1, "y": 3}


def test_a_merge_of_a_deeper_merge_is_no_duplicate(write):
    text = "base: &base {x: 1, y: 2}\na: {b: &deep {<<: *base, y: 3}}\nlast: {<<: *deep, y: 4}\n"
    content = read_document(write("a.yaml", text)).content
    assert (content["a"]["b"], content["last"]) == ({"x": 1, "y": 3}, {"x": 1, "y": 4})


def test_keys_are_text_as_written(write):
    assert read_document(write("a.yaml", "a: {on: 1, 5: 2, null: 3}")).content == {"a": {"on": 1, "5": 2, "null": 3}}
