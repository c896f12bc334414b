"""Jobs of your own types: a serializer is any object with ``dumps`` and ``loads``."""

import json
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import msgspec
import pydantic

from persistqueue import JobQueue


@dataclass
class Mail:
    to: str


class Order(pydantic.BaseModel):
    what: str


class Ping(msgspec.Struct):
    host: str


def work_on(item: Any, dumps: Any, loads: Any) -> None:
    serializer = SimpleNamespace(dumps=dumps, loads=loads)
    with JobQueue[Any](":memory:", serializer=serializer) as jobs:
        jobs.put(item)
        with jobs.process() as got:
            print(got)


work_on(
    Mail("you"), lambda mail: json.dumps(asdict(mail)).encode(), lambda b: Mail(**json.loads(b))
)
work_on(Order(what="tea"), lambda it: it.model_dump_json().encode(), Order.model_validate_json)
work_on(Ping("localhost"), msgspec.json.encode, msgspec.json.Decoder(Ping).decode)
