"""Prints docs/api.md: every service, message and enum with its comments from proto/, and every reason of an error.

usage: python tools/api_reference.py        (in the checkout, with the virtual environment)

What the protocol says comes from its descriptors, what goes wrong from the daemon's source: each class of error has one code
(headgated.api.errors), each place that raises one names its reason.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto as Field,
    FileDescriptorProto,
    FileDescriptorSet,
)

from headgated.api.errors import code_of
from headgated.api.methods import RULES
from headgated.core import errors

ROOT = Path(__file__).parent.parent
DAEMON = ROOT / "daemon/headgated"
SERVICE, MESSAGE, ENUM = 6, 4, 5  # descriptor.proto: field numbers in FileDescriptorProto, for source paths
MEMBER = 2  # the same for methods, fields and enum values
REASON = re.compile(r"[A-Z]{2,}(_[A-Z]+)*")
CLASSES: dict[str, type[errors.HeadgateError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.HeadgateError)
}
OTHER = {"Verdict": "halt", "Halt": "halt", "Problem": "problem", "ScanFault": "DeploymentFailedError"}
AT_START = {
    "effects/lock.py",
    "effects/places.py",
    "api/listener.py",
    "api/private.py",
    "effects/owner.py",
    "__main__.py",
    "app.py",
}


def described() -> list[tuple[FileDescriptorProto, dict[tuple[int, ...], str]]]:
    """Return the protocol's files, each with its comments by source path."""
    protos = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "proto").rglob("*.proto"))
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", "--include_source_info"]
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([*protoc, f"--descriptor_set_out={out.name}", *protos], check=True, cwd=ROOT)
        files = FileDescriptorSet.FromString(Path(out.name).read_bytes()).file
    return [
        (
            file,
            {
                tuple(where.path): one_line(where.leading_comments or where.trailing_comments)
                for where in file.source_code_info.location
            },
        )
        for file in files
    ]


def one_line(comment: str) -> str:
    return " ".join(comment.split())


def type_of(field: Field, maps: dict[str, str]) -> str:
    if field.type_name in maps:
        return maps[field.type_name]
    name = field.type_name.rsplit(".", 1)[-1] or Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.type_name.startswith(".headgate."):
        name = f"[{name}](#{name.lower()})"
    if field.label == Field.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def protocol() -> Iterator[str]:
    files = described()
    yield "## Services"
    for file, comments in files:
        for s, service in enumerate(file.service):
            yield f"### {service.name}\n\n{comments.get((SERVICE, s), '')}"
            yield "\n".join(rpcs(service, f"/{file.package}.{service.name}/", comments, s))
    yield "## Messages"
    for file, comments in files:
        for m, message in enumerate(file.message_type):
            yield f"### {message.name}\n\n{comments.get((MESSAGE, m), '')}".rstrip()
            maps = {
                f".{file.package}.{message.name}.{nested.name}": "map<string, string>"
                for nested in message.nested_type
                if nested.options.map_entry
            }
            rows = [
                (
                    f"`{field.name}`",
                    str(field.number),
                    type_of(field, maps),
                    comments.get((MESSAGE, m, MEMBER, f), ""),
                )
                for f, field in enumerate(message.field)
            ]
            yield table(("field", "number", "type", ""), rows) if rows else "No fields."
    yield "## Enums"
    for file, comments in files:
        for e, enum in enumerate(file.enum_type):
            yield f"### {enum.name}\n\n{comments.get((ENUM, e), '')}".rstrip()
            rows = [
                (f"`{value.name}`", str(value.number), comments.get((ENUM, e, MEMBER, v), ""))
                for v, value in enumerate(enum.value)
                if value.number
            ]
            yield table(("value", "number", ""), rows)


def rpcs(service: object, prefix: str, comments: dict[tuple[int, ...], str], at: int) -> Iterator[str]:
    rows = []
    for m, method in enumerate(service.method):
        asked, answered = (name.rsplit(".", 1)[-1] for name in (method.input_type, method.output_type))
        kind = "stream of " if method.server_streaming else ""
        said = comments.get((SERVICE, at, MEMBER, m), "").removeprefix(f"{method.name} ")
        rows.append(
            (
                f"`{method.name}`",
                f"[{asked}](#{asked.lower()})",
                f"{kind}[{answered}](#{answered.lower()})",
                role_of(prefix + method.name),
                said[:1].upper() + said[1:],
            )
        )
    yield table(("RPC", "request", "answer", "role", ""), rows)


def role_of(method: str) -> str:
    rule = RULES[method]
    where = " of the whole daemon" if rule.spots is None else ""
    return f"{rule.role or 'anybody'}{where}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def reasons() -> dict[str, dict[str, str]]:
    """Return by class of error (or `halt`, `problem`, `start`): each reason, with the message that it comes with."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(DAEMON.rglob("*.py"))}
    returns, constants = named(node for tree in trees.values() for node in ast.walk(tree))
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path, tree in trees.items():
        start = str(path.relative_to(DAEMON)) in AT_START
        for node in ast.walk(tree):
            for kind, reason, message in raised(node, returns, constants):
                mine = found["start" if start else kind]
                mine[reason] = mine.get(reason) or message
    for name, kind in CLASSES.items():
        if not any(kind.default_reason in mine for mine in found.values()):
            found[name][kind.default_reason] = ""
    return found


def named(nodes: Iterable[ast.AST]) -> tuple[dict[str, str], dict[str, object]]:
    """Return what the functions of the source return, and its constants, by name."""
    returns, constants = {}, {}
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name, returns=ast.Name(id=kind)):
                returns[name] = kind
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                constants[name] = value
    return returns, constants


def raised(
    node: ast.AST, returns: dict[str, str], constants: dict[str, object]
) -> Iterator[tuple[str, str, str]]:
    """Yield what a piece of code gives reasons for: (class of the error or what else it is, reason, message)."""
    if isinstance(node, ast.Dict):  # tables of what the kernel says
        for value in node.values:
            if (
                isinstance(value, ast.Tuple)
                and value.elts
                and (reason := text_of(value.elts[0]))
                and "_" in reason
                and REASON.fullmatch(reason)
            ):
                yield "DeploymentFailedError", reason, ""
    yield from default(node)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
        return
    name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
    kind = returns.get(name, name)
    kind = OTHER.get(kind, kind)
    if kind not in CLASSES and kind not in OTHER.values():
        return
    given = [keyword.value for keyword in node.keywords if keyword.arg == "reason"] or node.args
    said = [
        text
        for each in [*node.args, *(k.value for k in node.keywords if k.arg == "message")]
        if (text := text_of(each))
    ]
    message = next((text for text in said if " " in text), "")
    for each in [part for one in given for part in alternatives(one)]:
        reason = constants.get(each.id) if isinstance(each, ast.Name) else text_of(each)
        if isinstance(reason, str) and REASON.fullmatch(reason):
            yield kind, reason, message
            return


def default(node: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Yield the reason that a kind of error has by default, where it is a kind of one that the API tells apart."""
    match node:
        case ast.ClassDef(bases=[ast.Name(id=kind)]) if kind in CLASSES and node.name not in CLASSES:
            told = one_line((ast.get_docstring(node) or "").split("\n\n")[0]).removesuffix(".")
            for each in node.body:
                match each:
                    case ast.Assign(
                        targets=[ast.Name(id="default_reason")], value=ast.Constant(value=str(reason))
                    ):
                        yield kind, reason, told[:1].lower() + told[1:]


def alternatives(node: ast.expr) -> list[ast.expr]:
    """Return what an expression may come to, as far as it says `this if so else that`."""
    return [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]


def text_of(node: ast.expr) -> str:
    """Return a text of the source, with `…` for what is filled in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


def failures() -> Iterator[str]:
    found = reasons()
    yield """## Errors

A status carries `google.rpc.Status` details: `ErrorInfo` (`domain` is `headgate`; `reason`; as metadata `hint`, and `paths`, one a line, with
`paths_omitted` where not all fitted), `BadRequest` with every fault of a request, or of the configuration, by field, `PreconditionFailure` for a refusal.
All of it travels in some 6.5 KB: where the faults are more than fit, `faults_omitted` says how many are left out, and so does a last fault without a field.
A fault of the daemon itself is `INTERNAL` with a `log_id` that its log has too, and nothing else of it."""
    for name, kind in CLASSES.items():
        if kind is errors.HeadgateError or not found[name]:
            continue
        why = one_line((kind.__doc__ or "").split("\n\n")[0])
        yield f"### {name.removesuffix('Error')}: {code_of(kind.__new__(kind)).name}\n\n{why}"
        yield rows(found[name])
    yield """## Halts

`Sync.halt.reason`, and `PlanDeploymentResponse.blocked`: why an environment keeps its target and waits."""
    yield rows(found["halt"])
    yield """## Problems

`GetStatusResponse.problems`. Faults of a source or record stand there under the reasons above, too."""
    yield rows(found["problem"])


def rows(found: dict[str, str]) -> str:
    return table(("reason", ""), ((f"`{reason}`", message) for reason, message in sorted(found.items())))


INTRODUCTION = """# The API

<!-- Generated by `make docs` from proto/ and the daemon's source: not for editing. -->

gRPC, package `headgate.v1`, over a Unix socket (`/run/headgate/headgate.sock`); who calls is known by the kernel's word. `grpc.health.v1` and
server reflection are served too. How to call it: [clients.md](clients.md). What a role is, and who
has it: [security.md](security.md); the table of each service says which one a call takes. Errors that have no reason of ours come from gRPC itself.

Paths are absolute unless it says otherwise. A file name that is not valid UTF-8 is written with `\\xNN` for each byte that is not, and `\\\\` for
a backslash; the daemon reads the same form back.

Requests that change something take a `request_id`, any text of at most 128 characters: the same id with the same request gives the first answer again,
also after a restart; with another request it is refused (`REQUEST_ID_REUSED`). Lists come in pages: pass `next_page_token` as `page_token`."""


if __name__ == "__main__":
    print("\n\n".join([INTRODUCTION, *protocol(), *failures()]))
