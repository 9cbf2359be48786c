"""Binding: arguments become JSON text by parameter name, and JSON text becomes arguments again.

What is stored has been through the whole trip, out to JSON and back through the validator that the worker will use,
before any row exists. Only what was passed is stored: defaults stay with the code. The validator of a signature is
built on first use, once.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import io
import json
import socket
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NoReturn, NotRequired, Required, Union, cast, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PydanticUserError, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic_core import (
    CoreConfig,
    CoreSchema,
    PydanticSerializationError,
    SchemaSerializer,
    SchemaValidator,
    to_json,
)
from typing_extensions import TypedDict

from jobwarden.domain.refs import MARK, Ref, refs_in
from jobwarden.errors import (
    BindingError,
    DefinitionError,
    DoubledParam,
    InvalidParam,
    MissingParam,
    UnknownParam,
    UnstorableParam,
)
from jobwarden.services import Provide

_PLAIN_TYPES = frozenset({str, int, float, bool, type(None), Decimal, UUID, date, timedelta, bytes})
_SETS = (set, frozenset)
# Said twice because validators read the inner configuration and serializers the outer one.
_CONFIG = ConfigDict(extra="forbid", ser_json_inf_nan="strings", ser_json_bytes="base64", val_json_bytes="base64")
_JSON = CoreConfig(ser_json_inf_nan="strings", ser_json_bytes="base64", val_json_bytes="base64")
_CONNECTION_MODULES = frozenset({"psycopg", "psycopg2", "pymysql", "MySQLdb", "sqlite3", "asyncpg", "aiosqlite"})
_FUNCTIONS = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.ModuleType,
    functools.partial,
    type,
)


# -- signatures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter that is data."""

    name: str
    annotation: Any
    required: bool
    positional: bool
    default: Any = None


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter as a form shows it: ``type`` and ``default`` (None: it has none) in words, ``text`` if its value is
    written as it is, and not as JSON."""

    name: str
    type: str
    required: bool
    default: str | None
    text: bool

    @classmethod
    def of(cls, param: Param) -> Field:
        """The field of a parameter."""
        default = None if param.required else repr(param.default)
        text = param.annotation in (str, date, datetime, UUID, Decimal)
        return cls(param.name, inspect.formatannotation(param.annotation), param.required, default, text)


@dataclass(frozen=True, slots=True)
class Signature:
    """A callable's parameters by what fills them: data from the row, the context, services."""

    params: tuple[Param, ...]
    context: str | None
    services: Mapping[str, Provide]


def read_signature(job: str, target: Callable[..., Any], hints: Mapping[str, Any]) -> Signature:
    """Sort the parameters of a function, or of a class's constructor; raises `DefinitionError` for what cannot be."""
    params, services = [], {}
    context = None
    for name, parameter in inspect.signature(target).parameters.items():
        if name == "self":
            continue
        _refuse_kind(job, name, parameter.kind)
        annotation = hints.get(name, Any)
        if is_context(annotation):
            context = name
        elif provide := _provided(annotation):
            services[name] = provide
        else:
            required = parameter.default is parameter.empty
            positional = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            params.append(Param(name, annotation, required, positional, parameter.default))
    return Signature(tuple(params), context, services)


def is_context(annotation: Any) -> bool:
    """Whether an annotation asks for the job's context."""
    return any(getattr(part, "__jobwarden_context__", False) is True for part in (annotation, *get_args(annotation)))


def _provided(annotation: Any) -> Provide | None:
    extras = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, Provide)), None)


def _refuse_kind(job: str, name: str, kind: Any) -> None:
    if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY):
        rule = f"its parameter {name!r} is {kind.description} and parameters are stored one by one, by name"
        raise DefinitionError(name=job, rule=rule, way_out="give each parameter a name, in a list or dict if need be")


# -- the binder -------------------------------------------------------------------------------------------------------


class Binder:
    """The data parameters of one job, both ways."""

    def __init__(self, job: str, params: tuple[Param, ...], injected: frozenset[str] = frozenset()) -> None:
        self.job, self.params, self._injected = job, params, injected
        self._positional = tuple(param.name for param in params if param.positional)
        self._names = tuple(param.name for param in params)
        self._loose = [param.name for param in params if _mentions(param.annotation, _is_any)]
        self._sets = [param.name for param in params if (get_origin(param.annotation) or param.annotation) in _SETS]
        self._plain = not self._loose and all(_is_plain(param.annotation) for param in params)
        schema = self._schema()
        validator, serializer = SchemaValidator(schema, _JSON), SchemaSerializer(schema, _JSON)
        self._validate, self._parse = validator.validate_python, validator.validate_json
        self._to_json, self._to_data = serializer.to_json, serializer.to_python

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The arguments as JSON text, and as the worker will get them; raises a `BindingError`."""
        values = self._named(args, kwargs) if args else kwargs
        try:
            found = self._validate(values)
        except ValidationError as error:
            self._explain(error, values)
        if not self._plain:
            self._inspect(found)
        text = self._dumped(found)
        try:
            back: dict[str, Any] = self._parse(text)
        except ValidationError as error:
            self._explain(error, found, "after its way through JSON ")
        if back != found:
            self._compare(found, back)
        if MARK in text:
            self._refuse_forged(text)
        return text, back

    def apart(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Ref]]:
        """The arguments by name: those that are values, and those that refer; raises a `BindingError`."""
        values = self._named(args, kwargs)
        refs = {name: value for name, value in values.items() if isinstance(value, Ref)}
        for name, ref in refs.items():
            if name not in self._names:
                raise UnknownParam(job=self.job, param=name, known=self._known(name))
            if not all(isinstance(part, str | int) for part in (ref.key, *ref.path)):
                self._unstorable(name, ref, ("its path has what is no name and no index", "give texts and numbers"))
        return {name: value for name, value in values.items() if name not in refs}, refs

    def without(self, names: Collection[str]) -> Binder:
        """A binder of the other parameters alone."""
        return Binder(self.job, tuple(param for param in self.params if param.name not in names), self._injected)

    def load(self, params: str | bytes) -> dict[str, Any]:
        """Stored JSON text as arguments by name; raises a `BindingError` if it does not fit the code."""
        try:
            found: dict[str, Any] = self._parse(params)
        except ValidationError as error:
            self._explain(error, _read(params))
        return found

    def _schema(self) -> CoreSchema:
        for param in self.params:
            self._refuse_annotation(param)
        shape = {
            param.name: Required[param.annotation] if param.required else NotRequired[param.annotation]
            for param in self.params
        }
        form = cast(Any, TypedDict)("Params", shape)
        form.__pydantic_config__ = _CONFIG
        try:
            return TypeAdapter(form).core_schema
        except (PydanticUserError, TypeError, NameError) as error:
            rule = f"a parameter's annotation is no data type ({_first_line(error)})"
            way_out = "annotate with data types; services come as Annotated[T, Provide(make_it)]"
            raise DefinitionError(name=self.job, rule=rule, way_out=way_out) from error

    def _refuse_annotation(self, param: Param) -> None:
        if _mentions(param.annotation, _is_row_class):
            rule = f"its parameter {param.name!r} is annotated with a database row's class"
            raise DefinitionError(name=self.job, rule=rule, way_out="take the row's key and load the row in the job")

    def _named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self._positional):
            rule = f"{len(args)} were given by position and it takes {len(self._positional)} so"
            raise BindingError(job=self.job, rule=rule, way_out=f"its parameters are {self._known()}")
        values = dict(zip(self._positional, args, strict=False))
        if kwargs:
            for name in kwargs:
                if name in values:
                    raise DoubledParam(job=self.job, param=name)
            values.update(kwargs)
        return values

    def _dumped(self, found: dict[str, Any]) -> str:
        try:
            if self._sets:
                data = self._to_data(found, mode="json", warnings="error")
                for name in set(self._sets) & set(data):
                    data[name].sort(key=json.dumps)
                return to_json(data).decode()
            return self._to_json(found).decode()  # no options: parsing them costs seven times the dump
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            self._blame(found, error)

    def _inspect(self, found: Mapping[str, Any]) -> None:
        for name, value in found.items():
            if refusal := _refusal(value):
                self._unstorable(name, value, refusal)

    def _compare(self, found: Mapping[str, Any], back: Mapping[str, Any]) -> None:
        """Refuse what would reach the job as something else. A type without == is judged by its JSON."""
        for name, value in found.items():
            exact = name in self._loose or self._to_json({name: value}) != self._to_json({name: back[name]})
            if exact and not _same(value, back[name]):
                rule = f"after its way through JSON it would reach the job as {_short(back[name])}"
                self._unstorable(name, value, (rule, "annotate the parameter with its precise type, or pass JSON data"))

    def _refuse_forged(self, text: str) -> None:
        for name, ref in refs_in(json.loads(text)).items():
            rule = f"a mapping of {MARK!r} alone stands for the result of another member"
            self._unstorable(name, ref, (rule, "use another name in it, or pass Ref(...)"))

    # -- refusals

    def _explain(self, error: ValidationError, values: Mapping[str, Any], when: str = "") -> NoReturn:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "missing" and len(first["loc"]) == 1:
            raise MissingParam(job=self.job, param=name) from None
        if name not in self._names:
            raise UnknownParam(job=self.job, param=name, known=self._known(name)) from None
        value = values.get(name)
        if refusal := _refusal(value):
            self._unstorable(name, value, refusal)
        where = "".join(f"[{part!r}]" for part in first["loc"][1:])
        rule = when + (f"at {where} " if where else "") + first["msg"][:1].lower() + first["msg"][1:]
        shown = _named_type(next(param.annotation for param in self.params if param.name == name))
        raise InvalidParam(job=self.job, param=name, value=_short(value), rule=rule, annotation=shown) from None

    def _blame(self, found: Mapping[str, Any], error: BaseException) -> NoReturn:
        """Name the parameter that would not go into JSON."""
        for name, value in found.items():
            if refusal := _refusal(value):
                self._unstorable(name, value, refusal)
        name = next(iter(found))
        for name, value in found.items():
            try:
                self._to_json({name: value}, warnings="error")
            except (PydanticSerializationError, ValueError, RecursionError):
                break
        way_out = "pass scalars, containers, dataclasses or pydantic models"
        self._unstorable(name, found[name], (f"it does not go into JSON ({_first_line(error)})", way_out))

    def _unstorable(self, name: str, value: Any, refusal: tuple[str, str]) -> NoReturn:
        rule, way_out = refusal
        raise UnstorableParam(job=self.job, param=name, value=_short(value), rule=rule, way_out=way_out) from None

    def _known(self, name: str | None = None) -> str:
        if name in self._injected:
            return "that one from the engine, never from the caller"
        listed = ", ".join(self._names) or "none"
        near = difflib.get_close_matches(name, self._names, n=1) if name else []
        return f"{listed} (did you mean {near[0]}?)" if near else listed


# -- annotations ------------------------------------------------------------------------------------------------------


def _mentions(annotation: Any, wanted: Callable[[Any], bool]) -> bool:
    return wanted(annotation) or any(_mentions(part, wanted) for part in _parts(annotation))


def _parts(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Literal:
        return
    arguments = get_args(annotation)
    yield from arguments[:1] if origin is Annotated else arguments


def _is_any(annotation: Any) -> bool:
    bare = annotation in (list, dict, tuple, set, frozenset) if isinstance(annotation, type) else False
    return annotation is Any or annotation is object or bare or annotation is inspect.Parameter.empty


def _is_row_class(annotation: Any) -> bool:
    return isinstance(annotation, type) and (hasattr(annotation, "__mapper__") or _is_django(annotation))


def _is_django(kind: type) -> bool:
    return hasattr(kind, "_meta") and hasattr(kind, "_default_manager")


def _is_plain(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType) or origin is Annotated:
        return all(_is_plain(part) for part in _parts(annotation))
    return annotation in _PLAIN_TYPES or (isinstance(annotation, type) and issubclass(annotation, Enum))


def _named_type(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


# -- values -----------------------------------------------------------------------------------------------------------


def _refusal(value: Any) -> tuple[str, str] | None:
    """Why a value, or something inside it, is no data, and what to pass instead."""
    if type(value) in _PLAIN_TYPES or isinstance(value, Enum):
        return None
    if found := _no_data(value):
        return found
    return next(filter(None, map(_refusal, _inside(value))), None)


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, BaseModel):
        yield from value.__dict__.values()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, entry.name) for entry in dataclasses.fields(value))


def _no_data(value: Any) -> tuple[str, str] | None:
    for applies, rule, way_out in _REFUSED:
        if applies(value):
            return rule, way_out
    return None


def _is_connection(value: Any) -> bool:
    root, _, rest = type(value).__module__.partition(".")
    if root == "sqlalchemy":
        return rest.startswith(("engine", "orm.session", "orm.scoping", "ext.asyncio", "pool"))
    named = root in _CONNECTION_MODULES and ("onnection" in type(value).__name__ or "ursor" in type(value).__name__)
    return named or isinstance(value, socket.socket) or hasattr(value, "ensure_connection")


def _is_naive(value: Any) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is None


_REFUSED: tuple[tuple[Callable[[Any], bool], str, str], ...] = (
    (
        lambda value: hasattr(value, "_sa_instance_state"),
        "it is a SQLAlchemy row, which belongs to its session and is stale when the job runs",
        "pass its primary key and load the row in the job",
    ),
    (
        lambda value: not isinstance(value, type) and _is_django(type(value)),
        "it is a Django model instance, which is stale when the job runs",
        "pass its pk and load it in the job",
    ),
    (_is_connection, "it is a connection, which cannot leave its process", "open one in the job, or use Provide"),
    (lambda value: isinstance(value, io.IOBase), "it is an open file, which cannot leave its process", "pass its path"),
    (
        lambda value: isinstance(value, _FUNCTIONS),
        "it is code and not data",
        "pass a name or an enum member that the job can choose by",
    ),
    (
        lambda value: inspect.isgenerator(value) or inspect.iscoroutine(value) or isinstance(value, Iterator),
        "it can be read only once",
        "pass a list",
    ),
    (
        _is_naive,
        "a date-time without an offset is another instant on each host",
        "give it one, as datetime.now(UTC) or value.astimezone() do",
    ),
    (
        lambda value: isinstance(value, SecretStr | SecretBytes),
        "a secret is not written into a row",
        "pass the secret's name and read it in the job",
    ),
)


def _same(found: Any, back: Any) -> bool:
    """Whether a value came back from JSON as it went in; a tuple may come back as a list."""
    if isinstance(found, list | tuple) and isinstance(back, list):
        return len(found) == len(back) and all(map(_same, found, back))
    if isinstance(found, dict) and isinstance(back, dict):
        return found.keys() == back.keys() and all(_same(found[key], back[key]) for key in found)
    return bool(found == back)


def _read(params: str | bytes) -> Mapping[str, Any]:
    try:
        data = json.loads(params)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= 120 else f"{text[:117]}..."


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def hints_of(target: Any, scope: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The annotations of a function or class, resolved; raises NameError for a name that is not there (yet)."""
    return typing.get_type_hints(target, localns=dict(scope) if scope else None, include_extras=True)
