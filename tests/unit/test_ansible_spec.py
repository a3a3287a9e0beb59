"""The options of the Ansible module and of the roles follow from the policy's keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from docs import ansible_files

import sysmail
from sysmail.errors import PolicyError
from sysmail.fleet import exchange
from sysmail.policy import KEYS, SECTIONS, Key, parse
from sysmail.policy.ansible import (
    ROLES,
    argument_spec,
    module_options,
    policy_options,
    role_options,
)

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / ansible_files.COLLECTION
TYPES = {"str", "int", "bool", "dict", "raw"}

# A value of the right form for each type of option; a policy of nothing but such values may still
# be refused, but not for a key that does not exist or for a type.
VALUES: Mapping[str, object] = {"str": "text", "int": 1, "raw": ["/bin/true"], "dict": {}}


def flat(options: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every option with its dotted name."""
    for name, option in options.items():
        yield above + name, option
        yield from flat(option.get("options", {}), f"{above}{name}.")


def policy_of(name: str, value: object) -> dict[str, object]:
    """Make a policy of one value."""
    table, _, key = name.rpartition(".")
    return {table: {key: value}} if table else {key: value}


def code_of(data: dict[str, object]) -> str:
    """Return the code of the error that a policy is refused with; empty if it is not."""
    try:
        parse(data, from_ansible=True)
    except PolicyError as error:
        return error.code
    return ""


def test_every_key_of_the_policy_is_an_option_and_nothing_else_is() -> None:
    """The options of the policy are its keys and its tables."""
    names = [name for name, _ in flat(policy_options())]
    assert sorted(names) == sorted([*(key.name for key in KEYS), *SECTIONS])


@pytest.mark.parametrize("name", [name for name, _ in flat(policy_options())])
def test_the_tool_knows_every_option(name: str) -> None:
    """No option is refused by the tool as a key that does not exist, or for its type."""
    option = dict(flat(policy_options()))[name]
    assert code_of(policy_of(name, VALUES[option["type"]])) not in {
        "policy-unknown-key",
        "policy-wrong-type",
    }


@pytest.mark.parametrize("table", ["", *(section for section in SECTIONS if section != "postfix")])
def test_the_tool_knows_nothing_but_the_options(table: str) -> None:
    """A key that is no option is refused by the tool too, in every table."""
    name = f"{table}.not_a_key" if table else "not_a_key"
    assert code_of(policy_of(name, "text")) == "policy-unknown-key"


@pytest.mark.parametrize("key", [key for key in KEYS if key.choices])
def test_choices_are_what_the_tool_accepts(key: Key) -> None:
    """Every choice of an option is a value that the tool accepts, and an empty text if that is."""
    choices = dict(flat(policy_options()))[key.name]["choices"]
    assert set(choices) - {""} == set(key.choices)
    for choice in choices:
        assert key.read(choice, key.name) == choice
    if "" not in choices:
        with pytest.raises(PolicyError):
            key.read("", key.name)


def test_a_command_is_taken_as_text_or_as_a_list() -> None:
    """A command is split by the tool and not by Ansible, which would split it at its commas."""
    options = dict(flat(policy_options()))
    commands = [key.name for key in KEYS if key.kind == "command"]
    assert commands
    assert {options[name]["type"] for name in commands} == {"raw"}
    policy = parse({"alert": {"command": "/bin/page a,b c"}}, from_ansible=True)
    assert policy.alert.command == ("/bin/page", "a,b", "c")


def test_types_are_ansibles_and_defaults_are_left_to_the_tool() -> None:
    """Every option has a type and a sentence of documentation, and no default of the policy."""
    for name, option in flat(policy_options()):
        assert option["type"] in TYPES, name
        assert "default" not in option, name
        assert all(sentence.endswith((".", ")")) for sentence in option["description"]), name


def test_secrets_are_hidden() -> None:
    """Passwords and the URL of the alert are no_log; a password's file and command are not."""
    spec = argument_spec(module_options())
    hidden = {name for name, option in flat(spec) if option.get("no_log")}
    assert hidden == {
        "policy.mailu.password",
        "policy.smarthost.password",
        "policy.alert.webhook",
    }
    assert {name for name, option in flat(spec) if option.get("no_log") is False} == {
        f"policy.{hop}.password_{source}"
        for hop in ("mailu", "smarthost")
        for source in ("file", "command")
    }


def test_only_what_the_inventory_cannot_give_is_required() -> None:
    """Mailu's host may come from the inventory, a smarthost's may not."""
    required = {name for name, option in flat(policy_options()) if option.get("required")}
    assert required == {"smarthost.host"}


def test_an_argument_spec_has_no_documentation() -> None:
    """What is given to Ansible's validator has no key that it does not know."""
    known = {"type", "default", "required", "choices", "options", "no_log"}
    for name, option in flat(argument_spec(module_options())):
        assert set(option) <= known, name


def test_the_roles_have_the_options_of_the_module() -> None:
    """Each variable of the roles is an option of the module, but for the relay, which is a role."""
    module = module_options()
    module.pop("relay")
    roles = {name.replace("sys_svc_mail_", "", 1): each for name, each in role_options().items()}
    assert roles == module


def test_the_module_has_the_options_that_the_controller_reads() -> None:
    """What is documented is what the action plugin takes, with the same defaults."""
    assert {name: each["default"] for name, each in module_options().items()} == exchange.DEFAULTS


@pytest.mark.parametrize("role", ROLES)
def test_each_role_gives_every_variable_a_default_and_passes_it_on(role: str) -> None:
    """The defaults are those that are documented, and the one task hands every variable over."""
    folder = COLLECTION / "roles" / role
    defaults = (folder / "defaults/main.yml").read_text(encoding="utf-8")
    tasks = (folder / "tasks/main.yml").read_text(encoding="utf-8")
    for name, option in role_options().items():
        value = str(option["default"])
        value = value.lower() if option["type"] == "bool" else value
        assert f"\n{name}: {value} #" in defaults
        assert f'    {name.replace("sys_svc_mail_", "", 1)}: "{{{{ {name} }}}}"\n' in tasks
    assert len(re.findall(r"^- name:", tasks, re.MULTILINE)) == 1
    assert ("    relay: true\n" in tasks) == (role == "sys_svc_mail_smtp")


@pytest.mark.parametrize("name", ansible_files.FILES)
def test_generated_files_are_up_to_date(name: str) -> None:
    """Every generated file of the collection is what the policy's keys make of it."""
    assert (ROOT / name).read_text(encoding="utf-8") == ansible_files.FILES[name]()


def test_the_collection_has_the_version_of_the_tool() -> None:
    """A collection and the tool in it are one version."""
    galaxy = (COLLECTION / "galaxy.yml").read_text(encoding="utf-8")
    found = re.search(r"^version: (\S+)", galaxy, re.MULTILINE)
    assert found
    assert found[1] == sysmail.__version__


@pytest.mark.parametrize("role", ROLES)
def test_the_seeds_names_are_links_to_the_collections_roles(role: str) -> None:
    """Under the seed's names nothing is written a second time."""
    folder = ROOT / "roles" / role.replace("_", "-")
    linked = {entry.name: entry.resolve() for entry in folder.iterdir() if entry.is_symlink()}
    assert {entry.name for entry in folder.iterdir()} == set(linked)
    ours = COLLECTION / "roles" / role
    assert linked == {
        "tasks": ours / "tasks",
        "meta": ours / "meta",
        "defaults": (ours / "defaults").resolve(),
        "README.md": ours / "README.md",
        "library": COLLECTION / "plugins/modules",
        "action_plugins": COLLECTION / "plugins/action",
    }
    for entry in folder.iterdir():
        assert not entry.readlink().is_absolute()
