"""Keeps AscendC kernels inside what CANN's device compiler and stub extractor take.

    python tools/kernel_lint.py [FILE_OR_FOLDER ...]     default: every kernel under csrc and benchmarks

Neither g++ against CANN's CPU-debug headers (where `__gm__` and `__aicore__` are empty) nor the simulator
would notice these. Prints `file:line: rule: message` and exits with 1 if any.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_cpp
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_cpp.language()))

# Words that are macros or attributes to the device compiler and would upset a plain C++ grammar. They are
# blanked out before parsing; where they stood is remembered.
_ATTRIBUTES = re.compile(rb"\b__(?:aicore|global|gm|ubuf|cbuf|ca|cb|cc|fbuf|biasbuf)__\b")
_CORE_BRANCH = re.compile(rb"\bif (ASCEND_IS_AI[CV]) \{")
_LAUNCH = re.compile(rb"<<<[^;]*?>>>")

_ALLOWED_INCLUDES = {"kernel_operator.h", "cstdint", "stdint.h"}
_SCALARS = {"bool", "float", "half", "bfloat16_t"} | {f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64)}
_ELEMENT_TYPES = _SCALARS | {"void", "char", "int"}
_NOT_IN_CANN_8_1 = {"LocalMemAllocator", "__vector__", "__cube__", "__mix__"}
_CORE_TYPE_NAMES = {"g_coreType", "__DAV_C220_CUBE__", "__DAV_C220_VEC__", "__DAV_CUBE__", "__DAV_VEC__"}


@dataclass(frozen=True, order=True)
class Finding:
    """One broken rule at one line."""

    path: Path
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        """`file:line: rule: message`, as editors understand it."""
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclass
class _Source:
    """A parsed file, with the places of the attributes that were blanked out for the parser."""

    path: Path
    text: bytes
    root: Node
    attributes: list[tuple[int, str]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> _Source:
        text = path.read_bytes()
        plain = _CORE_BRANCH.sub(rb"if(\1){", text)
        plain = _LAUNCH.sub(lambda m: b" " * len(m[0]), plain)
        attributes = [(m.start(), m[0].decode()) for m in _ATTRIBUTES.finditer(plain)]
        plain = _ATTRIBUTES.sub(lambda m: b" " * len(m[0]), plain)
        return cls(path, text, _PARSER.parse(plain).root_node, attributes)

    def has(self, attribute: str, begin: int, end: int) -> bool:
        return any(begin <= at < end and name == attribute for at, name in self.attributes)

    def has_address_space(self, begin: int, end: int) -> bool:
        return any(begin <= at < end and name not in ("__aicore__", "__global__") for at, name in self.attributes)


@dataclass
class _Function:
    """A function with a body, as written in one of the files."""

    source: _Source
    node: Node
    owner: str  # the class it belongs to, or ""
    name: str
    parameters: list[Node]
    body: Node

    @property
    def head_begin(self) -> int:
        # `extern "C"` and blanked attributes come before the node that the parser sees.
        line_begin = self.source.text.rfind(b"\n", 0, self.node.start_byte) + 1
        return min(line_begin, self.node.start_byte)

    @property
    def is_entry(self) -> bool:
        return self.source.has("__global__", self.head_begin, self.body.start_byte)

    @property
    def is_launcher(self) -> bool:
        return self.source.path.suffix == ".cpp" and self.name.startswith("launch_")

    def takes(self, arguments: int) -> bool:
        required = sum(p.type == "parameter_declaration" for p in self.parameters)
        return required <= arguments <= len(self.parameters)


def _text_of(node: Node | None) -> str:
    return node.text.decode() if node is not None and node.text is not None else ""


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _ancestors(node: Node) -> Iterator[Node]:
    while node.parent is not None:
        node = node.parent
        yield node


def _line_of(node: Node) -> int:
    return node.start_point[0] + 1


def _functions_of(source: _Source) -> Iterator[_Function]:
    for node in _walk(source.root):
        body = node.child_by_field_name("body")
        if node.type != "function_definition" or body is None or body.type != "compound_statement":
            continue
        declarator = next((n for n in _walk(node) if n.type == "function_declarator"), None)
        if declarator is None:  # a conversion operator
            continue
        name = _text_of(declarator.child_by_field_name("declarator")).split("::")[-1]
        owner = next((a for a in _ancestors(node) if a.type in ("class_specifier", "struct_specifier")), None)
        parameters = declarator.child_by_field_name("parameters")
        named = parameters.named_children if parameters else []
        named = [p for p in named if p.type.endswith("parameter_declaration")]
        owner_name = _text_of(owner.child_by_field_name("name")) if owner else ""
        yield _Function(source, node, owner_name, name, named, body)


def _load(path: Path) -> list[_Source]:
    """`path` and the files it includes by a relative path, each once."""
    sources: dict[Path, _Source] = {}
    pending = [path.resolve()]
    while pending:
        current = pending.pop()
        if current in sources:
            continue
        sources[current] = _Source.read(current)
        for name in re.findall(rb'^\s*#\s*include\s+"([^"]+)"', sources[current].text, re.MULTILINE):
            included = (current.parent / name.decode()).resolve()
            if included.is_file():
                pending.append(included)
    return list(sources.values())


def _check_words(source: _Source) -> Iterator[tuple[Node, str, str]]:
    """The rules that one node decides, wherever it stands."""
    for node in _walk(source.root):
        word = _text_of(node)
        if node.type in ("ERROR",) or node.is_missing:
            yield node, "syntax", "not understood; is a branch on the core type written `if ASCEND_IS_AIC {`?"
        elif word == "std" and not node.children:
            yield node, "std", "std:: does not exist on the device"
        elif node.type == "preproc_include":
            name = _text_of(node.child_by_field_name("path")).strip('"<>')
            relative = (source.path.parent / name).is_file() and "<" not in word
            if name not in _ALLOWED_INCLUDES and not relative:
                yield node, "std", f"{name} is not for the device; kernels include kernel_operator.h only"
        elif node.type == "primitive_type" and word == "double":
            yield node, "double", "the device has no double"
        elif node.type == "number_literal" and _is_double(node):
            yield node, "double", f"{word} is a double; write {word}f or cast it at once"
        elif word in ("virtual", "override") and not node.children:
            yield node, "virtual", "no virtual functions on the device"
        elif node.type in ("new_expression", "delete_expression") or word in ("malloc", "calloc", "free"):
            yield node, "new", "no heap on the device"
        elif node.type in ("throw_statement", "try_statement") or word == "dynamic_cast":
            yield node, "exception", "no exceptions or run-time types on the device"
        elif node.type == "lambda_expression":
            yield node, "aicore", "a lambda cannot be marked __aicore__"
        elif node.type in ("identifier", "type_identifier") and word in _NOT_IN_CANN_8_1:
            yield node, "cann-8.1", f"{word} is not in CANN 8.1"
        elif node.type == "identifier" and word in _CORE_TYPE_NAMES:
            yield (
                node,
                "core-branch",
                f"{word}: branch with `if ASCEND_IS_AIC {{` or `if ASCEND_IS_AIV {{` only",
            )
        elif node.type == "identifier" and word in ("ASCEND_IS_AIC", "ASCEND_IS_AIV"):
            yield from _check_core_branch(source, node, word)
        elif node.type in ("preproc_if", "preproc_ifdef", "preproc_elif") and not _is_include_guard(node):
            yield (
                node,
                "conditional",
                "kernel source is the same for every compiler; no conditional compilation",
            )


def _is_double(literal: Node) -> bool:
    word = _text_of(literal).lower()
    floating = not word.startswith("0x") and ("." in word or "e" in word)
    cast_at_once = any(
        a.type in ("cast_expression",)
        or (a.type == "call_expression" and _text_of(a.child_by_field_name("function")).startswith("static_cast<"))
        for a in list(_ancestors(literal))[:2]
    )
    return floating and not word.endswith("f") and not cast_at_once


def _is_include_guard(node: Node) -> bool:
    name = _text_of(node.child_by_field_name("name"))
    return node.type == "preproc_ifdef" and name.endswith("_H")


def _check_core_branch(source: _Source, node: Node, word: str) -> Iterator[tuple[Node, str, str]]:
    statement = next((a for a in _ancestors(node) if a.type == "if_statement"), None)
    condition = statement.child_by_field_name("condition") if statement else None
    written = source.text[statement.start_byte :].startswith(f"if {word} {{".encode()) if statement else False
    if not written or condition is None or _text_of(condition) != f"({word})":
        yield (
            node,
            "core-branch",
            f"write `if {word} {{`: the device compiler sees a constexpr branch only there",
        )
    elif statement is not None and statement.child_by_field_name("alternative") is not None:
        yield node, "core-branch", "no else on a core-type branch; write both branches"


def _check_pointers(source: _Source) -> Iterator[tuple[Node, str, str]]:
    """Pointers to elements need an address space, in declarations, parameters and casts."""
    launchers = [f.node for f in _functions_of(source) if f.is_launcher]
    for node in _walk(source.root):
        if node.type not in ("pointer_declarator", "abstract_pointer_declarator"):
            continue
        holder = next(a for a in _ancestors(node) if a.child_by_field_name("type") is not None)
        target = holder.child_by_field_name("type")
        is_element = _text_of(target) in _ELEMENT_TYPES or _text_of(target) in _template_parameters(node)
        begin = max(source.text.rfind(c, 0, holder.start_byte) for c in (b"\n", b"(", b"<", b",", b";", b"{")) + 1
        if any(launcher in _ancestors(node) for launcher in launchers) or not is_element:
            continue
        if not source.has_address_space(begin, node.end_byte):
            yield node, "gm-pointer", f"a pointer to {_text_of(target)} needs its address space: __gm__"


def _template_parameters(node: Node) -> set[str]:
    templates = (a.child_by_field_name("parameters") for a in _ancestors(node) if a.type == "template_declaration")
    return {_text_of(n) for t in templates if t for n in _walk(t) if n.type == "type_identifier"}


def _check_functions(source: _Source) -> Iterator[tuple[Node, str, str]]:
    for function in _functions_of(source):
        if function.is_launcher:
            continue
        if not source.has("__aicore__", function.head_begin, function.body.start_byte):
            yield function.node, "aicore", f"{function.name} is not marked __aicore__"
        for node in _walk(function.body):
            if node.type == "storage_class_specifier" and _text_of(node) in ("static", "thread_local"):
                yield node, "static", "no static locals on the device"


def _check_globals(source: _Source) -> Iterator[tuple[Node, str, str]]:
    scopes = ("translation_unit", "namespace_definition", "declaration_list", "linkage_specification")
    for node in _walk(source.root):
        if node.type != "declaration" or node.parent is None or node.parent.type not in scopes:
            continue
        qualifiers = {_text_of(c) for c in node.children if c.type == "type_qualifier"}
        is_function = any(n.type == "function_declarator" for n in _walk(node))
        if not qualifiers & {"const", "constexpr"} and not is_function:
            yield node, "global", "no mutable globals on the device"


def _check_recursion(functions: list[_Function]) -> Iterator[tuple[_Source, Node, str, str]]:
    calls = {id(f): list(_callees(f, functions)) for f in functions}
    for function in functions:
        seen: set[int] = set()
        pending = calls[id(function)]
        while pending:
            called = pending[0]
            pending = pending[1:]
            if called is function:
                yield function.source, function.node, "recursion", f"{function.name} calls itself"
                break
            if id(called) not in seen:
                seen.add(id(called))
                pending = pending + calls[id(called)]


def _callees(caller: _Function, functions: list[_Function]) -> Iterator[_Function]:
    for node in _walk(caller.body):
        if node.type != "call_expression":
            continue
        target = node.child_by_field_name("function")
        arguments = node.child_by_field_name("arguments")
        count = sum(c.type != "comment" for c in arguments.named_children) if arguments else 0
        if target is None:
            continue
        if target.type == "template_function":
            target = target.child_by_field_name("name") or target
        owners = {caller.owner, ""}
        name = _text_of(target)
        if target.type == "field_expression":
            owners = _types_of(_text_of(target.child_by_field_name("argument")), caller)
            name = _text_of(target.child_by_field_name("field")).split("<")[0]
        for function in functions:
            if function.name == name and function.owner in owners and function.takes(count):
                yield function


def _types_of(variable: str, caller: _Function) -> set[str]:
    """Classes that a variable of this name is declared with in the caller's file, `this` being its own."""
    if variable in ("this", "(*this)"):
        return {caller.owner}
    found = set()
    for node in _walk(caller.source.root):
        declared = node.type in ("declaration", "field_declaration", "parameter_declaration")
        if declared and any(_text_of(n) == variable for n in _walk(node) if n.type.endswith("identifier")):
            found.add(_text_of(node.child_by_field_name("type")))
    return found


def _check_entries(source: _Source, sources: list[_Source]) -> Iterator[tuple[Node, str, str]]:
    """What CANN 8.1's stub extractor, which reads with regular expressions, makes stubs from."""
    functions = list(_functions_of(source))
    entries = [f for f in functions if f.is_entry]
    task_types = set()
    for entry in entries:
        head = source.text[entry.head_begin : entry.body.start_byte].decode()
        if not re.match(r'\s*extern "C" __global__ __aicore__ void \w+\(', head):
            yield entry.node, "entry", f'write `extern "C" __global__ __aicore__ void {entry.name}(...)`'
        own = re.findall(r"\bKERNEL_TASK_TYPE_DEFAULT\((\w+)\)", _text_of(entry.body))
        task_types.update(own)
        if len(own) != 1:
            yield entry.node, "entry", f"{entry.name} needs one KERNEL_TASK_TYPE_DEFAULT"
        for parameter in entry.parameters:
            yield from _check_entry_parameter(parameter, sources)
    if len(task_types) > 1:
        yield (
            entries[0].node,
            "entry",
            f"one task type per file, the first rules them all: {sorted(task_types)}",
        )
    for node in _walk(source.root):
        if node.type == "identifier" and _text_of(node) == "HAVE_WORKSPACE":
            yield node, "entry", "HAVE_WORKSPACE rewrites a parameter of every kernel; pass the workspace as a pointer"
        if node.type == "identifier" and _text_of(node) == "KERNEL_TASK_TYPE":
            yield node, "entry", "KERNEL_TASK_TYPE is for operator projects; use KERNEL_TASK_TYPE_DEFAULT"
    launchers = [f for f in functions if f.is_launcher]
    if source.path.name == "launch.cpp" and not launchers:
        yield source.root, "entry", "launch.cpp needs a launch_<op>(blocks, stream, pointers..., tiling)"
    for launcher in launchers:
        first = [" ".join(_text_of(p).split()) for p in launcher.parameters[:2]]
        if first != ["uint32_t blocks", "void* stream"]:
            yield launcher.node, "entry", f"{launcher.name} starts with (uint32_t blocks, void* stream, ...)"


def _check_entry_parameter(parameter: Node, sources: list[_Source]) -> Iterator[tuple[Node, str, str]]:
    words = _text_of(parameter).split()
    if len(words) != 2 or "*" in _text_of(parameter) or "&" in _text_of(parameter):
        yield (
            parameter,
            "entry",
            "an entry's parameters are `GM_ADDR x`, a scalar or an unqualified struct by value",
        )
        return
    if words[0] == "GM_ADDR" or words[0] in _SCALARS:
        return
    yield from ((parameter, rule, message) for rule, message in _check_struct(words[0], sources))


def _check_struct(name: str, sources: list[_Source]) -> Iterator[tuple[str, str]]:
    pattern = re.compile(rf"^struct {name} \{{$".encode(), re.MULTILINE)
    holders = [s for s in sources if pattern.search(s.text)]
    if not holders:
        yield (
            "struct",
            f"{name} must be written `struct {name} {{` at the start of a line, in a file of its own project",
        )
        return
    structs = [n for n in _walk(holders[0].root) if n.type == "struct_specifier"]
    node = next(n for n in structs if _text_of(n.child_by_field_name("name")) == name)
    if any(a.type in ("namespace_definition", "class_specifier", "struct_specifier") for a in _ancestors(node)):
        yield "struct", f"{name} must stand at global scope"
    body = node.child_by_field_name("body")
    for member in body.named_children if body else []:
        if member.type == "comment":
            continue
        kind = _text_of(member.child_by_field_name("type"))
        declarator = member.child_by_field_name("declarator")
        plain = member.type == "field_declaration" and declarator is not None
        if not plain or declarator.type not in ("field_identifier", "array_declarator") or "{" in _text_of(member):
            yield "struct", f"{name} holds plain data only, not `{_text_of(member)}`"
        elif declarator.type == "array_declarator" and not _has_literal_size(declarator):
            yield "struct", f"`{_text_of(member)}`: the struct is copied without its constants; write sizes as numbers"
        elif kind not in _SCALARS:
            yield from _check_struct(kind, sources)


def _has_literal_size(array: Node) -> bool:
    size = array.child_by_field_name("size")
    return size is not None and size.type == "number_literal"


def lint(path: Path) -> list[Finding]:
    """Every broken rule in `path` and in the project's own files that it includes."""
    sources = _load(path)
    findings = set()
    for source in sources:
        checks = [
            _check_words(source),
            _check_pointers(source),
            _check_functions(source),
            _check_globals(source),
            _check_entries(source, sources),
        ]
        for check in checks:
            findings.update(Finding(source.path, _line_of(n), rule, message) for n, rule, message in check)
    functions = [f for source in sources for f in _functions_of(source)]
    for source, node, rule, message in _check_recursion(functions):
        findings.add(Finding(source.path, _line_of(node), rule, message))
    return sorted(findings)


def kernel_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The kernel sources among files and folders: in a folder, every kernel.h and the launch.cpp beside it."""
    for path in paths:
        if path.is_dir():
            for kernel in sorted(path.rglob("kernel.h")):
                yield from (kernel, *kernel.parent.glob("launch.cpp"))
        else:
            yield path


def main(arguments: list[str]) -> int:
    """Lints the files and folders given; 1 if anything was found."""
    root = Path(__file__).parent.parent
    paths = [Path(a) for a in arguments] or [root / "csrc", *sorted((root / "benchmarks").rglob("*.cpp"))]
    findings = sorted({finding for path in kernel_files(paths) for finding in lint(path)})
    print("\n".join(map(str, findings)), end="\n" if findings else "")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
