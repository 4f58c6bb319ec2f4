"""A client made with centrifuge-python.

Arguments: URL json|protobuf TOKEN, which may be empty. Commands come in on
standard input and events go out on standard output, a line of JSON each.
"""

import asyncio
import base64
import json
import sys

# begin: import
from centrifuge import Client, ClientEventHandler, ReplyError, StreamPosition, SubscriptionEventHandler
# end

URL, BINARY, TOKEN = sys.argv[1], sys.argv[2] == "protobuf", sys.argv[3]


def say(**event):
    print(json.dumps(event, ensure_ascii=False), flush=True)


def text(data):
    """What a program has of a publication's data, as text."""
    if not BINARY:
        return {"data": json.dumps(data, ensure_ascii=False, separators=(",", ":"))}
    try:
        return {"data": (data or b"").decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def publication(p):
    return {"offset": p.offset, "tags": dict(p.tags or {}), **text(p.data)}


class Connection(ClientEventHandler):
    async def on_connected(self, ctx):
        say(event="connected", client=ctx.client)

    async def on_connecting(self, ctx):
        say(event="connecting", code=ctx.code, reason=ctx.reason)

    async def on_disconnected(self, ctx):
        say(event="disconnected", code=ctx.code, reason=ctx.reason)

    async def on_error(self, ctx):
        say(event="error", message=f"{ctx.code}: {ctx.error!r}")

    # What the token's channels bring.

    async def on_publication(self, ctx):
        say(event="publication", channel=ctx.channel, **publication(ctx.pub))

    async def on_subscribed(self, ctx):
        say(
            event="subscribed", channel=ctx.channel, recoverable=ctx.recoverable, was_recovering=ctx.was_recovering,
            recovered=ctx.recovered,
        )


# begin: handler
class Events(SubscriptionEventHandler):
    def __init__(self, channel):
        self.channel = channel

    async def on_publication(self, ctx):
        say(event="publication", channel=self.channel, **publication(ctx.pub))

    async def on_subscribed(self, ctx):
        # ctx.was_recovering and not ctx.recovered: something is missing, and
        # last values follow
        at = ctx.stream_position
        say(
            event="subscribed", channel=self.channel, recoverable=ctx.recoverable, was_recovering=ctx.was_recovering,
            recovered=ctx.recovered, offset=at.offset if at else 0, epoch=at.epoch if at else "",
        )

    async def on_unsubscribed(self, ctx):
        say(event="unsubscribed", channel=self.channel, code=ctx.code, reason=ctx.reason)
    # end

    async def on_error(self, ctx):
        say(event="error", message=f"{self.channel}: {ctx.code}: {ctx.error!r}")


async def subscribe(client, channel):
    # begin: subscribe
    sub = client.new_subscription(channel, events=Events(channel))  # such as "vehicles/tram 7" or "vehicles/*@3"
    await sub.subscribe()
    # end


async def publish(client, channel, value):
    # begin: publish
    data = value.encode() if BINARY else json.loads(value)
    await client.publish(channel, data, timeout=30)  # returns once the message is durable
    # end
    return {}


async def history(client, channel, limit, since, reverse):
    at = since and StreamPosition(offset=since["offset"], epoch=since["epoch"])
    # begin: history
    h = await client.history(channel, limit=limit, since=at, reverse=reverse)
    return {"offset": h.offset, "epoch": h.epoch, "publications": [publication(p) for p in h.publications]}
    # end


async def answer(command, call):
    try:
        say(event="done", id=command["id"], **await call)
    except ReplyError as e:
        say(event="failed", id=command["id"], code=e.code, message=e.message)
    except Exception as e:
        say(event="failed", id=command["id"], message=repr(e))


async def main():
    # begin: connect
    client = Client(URL, events=Connection(), token=TOKEN, use_protobuf=BINARY, max_reconnect_delay=2.0)
    await client.connect()
    # end
    tasks = set()
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        c = json.loads(line)
        if c["do"] == "subscribe":
            await subscribe(client, c["channel"])
        elif c["do"] == "unsubscribe":
            await client.get_subscription(c["channel"]).unsubscribe()
        elif c["do"] == "publish":
            tasks.add(asyncio.ensure_future(answer(c, publish(client, c["channel"], c["data"]))))
        elif c["do"] == "history":
            call = history(client, c["channel"], c.get("limit", 0), c.get("since"), c.get("reverse", False))
            tasks.add(asyncio.ensure_future(answer(c, call)))
    await client.disconnect()


asyncio.run(main())
