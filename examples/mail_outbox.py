"""A web application whose mails are jobs: ``uvicorn mail_outbox:app``.

An order and its mail are one transaction.  What is not sent a second after SIGTERM is ready again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from persistqueue.async_broker import AsyncBroker, Transaction

broker = AsyncBroker("shop.db")


async def send(mail: dict[str, str]) -> None:
    await asyncio.sleep(float(mail["takes"]))  # stands for SMTP


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with broker, broker.jobs("mails") as mails, mails.worker(send, concurrency=8, grace=1):
        await broker.transact(lambda tx: tx.execute("CREATE TABLE IF NOT EXISTS orders (mail)"))
        yield


async def order(request: Request) -> JSONResponse:
    def store(tx: Transaction) -> None:
        mail = tx.jobs("mails").put(dict(request.query_params))
        tx.execute("INSERT INTO orders VALUES (?)", [mail])

    return JSONResponse(await broker.transact(store), 202)


app = Starlette(routes=[Route("/order", order, methods=["POST"])], lifespan=lifespan)
