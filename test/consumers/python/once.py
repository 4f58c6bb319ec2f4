"""Reads a topic as a member of a group, and hands each message to a sink once."""

import re
import sys
import uuid
from collections import OrderedDict

from confluent_kafka import Consumer, KafkaException


# begin: window
class Window:
    """Tells which records of one partition are duplicates: a record at offset o
    is one if a record at one of the offsets [o - size, o) has the same id."""

    def __init__(self, size):
        self.size = size
        self.last = OrderedDict()  # where each id stands last, in the order of offsets

    def seen(self, id, offset):
        """Notes a record, and says whether it is a duplicate. Offsets ascend."""
        while self.last and next(iter(self.last.values())) < offset - self.size:
            self.last.popitem(last=False)
        duplicate = self.last.pop(id, None) is not None  # also what is a duplicate itself makes others duplicates
        self.last[id] = offset
        return duplicate

    def holds(self, id, offset):
        """Says whether a record would be a duplicate, and notes nothing."""
        return id in self.last and self.last[id] >= offset - self.size
# end


# begin: marks
UUID_FORM = re.compile(rb"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def marks(message):
    """What the headers say: the dedupe id or None, and whether it is a replay.
    Anyone may have written them: what does not parse counts as absent. Of
    several headers the last counts."""
    headers = dict(message.headers() or [])
    text = headers.get("postroad-id") or b""
    id = uuid.UUID(text.decode()) if UUID_FORM.fullmatch(text) else None
    return (id if id and id.int else None), "postroad-replay" in headers
# end


# begin: settings
def settings(given):
    """Without these settings the consumer would not read once."""
    return {
        **given,
        "enable.auto.commit": False,  # it would commit positions of the look-back
        "auto.offset.reset": "error",  # it would pass over a gap without a word
        "isolation.level": "read_committed",
    }
# end


class Reading:
    """What is known of a partition that this process reads."""

    def __init__(self, window, show, done, start):
        self.window = window
        self.show = show  # records below are read for the look-back only
        self.done = done
        self.next = start


class Once:
    def __init__(self, given, look_back, replays=False):
        self.consumer = Consumer(settings(given))
        self.look_back = look_back
        self.replays = replays
        self.readings = {}
        self.stopping = False
        self.sink = None

    # begin: assigned
    def assigned(self, consumer, partitions):
        """Begins W offsets before what is to be shown, so that the window is
        what it was before."""
        positions = self.sink.positions(partitions)
        for p in partitions:
            start, end = consumer.get_watermark_offsets(p, timeout=30)
            done = positions.get(p.partition, -1)
            show = start if done < 0 else done
            if show < start:
                print(f"{p.topic}-{p.partition}: records {show} to {start - 1} were removed before they were read", file=sys.stderr)
                show = start
            elif show > end:  # to begin anew would show everything again: somebody has to say so
                raise RuntimeError(f"{p.topic}-{p.partition} ends at {end}, before position {show}: it was made anew, or has lost records")
            p.offset = max(start, show - self.look_back)
            self.readings[p.partition] = Reading(Window(self.look_back), show, done, p.offset)
        consumer.assign(partitions)

    def revoked(self, consumer, partitions):
        for p in partitions:
            self.readings.pop(p.partition, None)  # all that was read is with the sink
        consumer.unassign()
    # end

    # begin: run
    def run(self, topic):
        self.consumer.subscribe([topic], on_assign=self.assigned, on_revoke=self.revoked, on_lost=self.revoked)
        try:
            while not self.stopping:
                batches = {}
                for m in self.consumer.consume(500, timeout=0.2):
                    if m.error():
                        raise KafkaException(m.error())
                    batches.setdefault(m.partition(), []).append(m)
                for partition, records in batches.items():
                    self.take(topic, partition, records)
        finally:
            self.consumer.close()

    def take(self, topic, partition, records):
        reading = self.readings.get(partition)
        if reading is None:  # given back since these were fetched
            return
        messages = [m for m in records if self.is_new(m, reading)]
        if reading.next > reading.show:  # never a position of the look-back
            self.sink.take(topic, partition, messages, reading.done, reading.next)
            reading.done = reading.next

    def is_new(self, m, reading):
        if m.offset() < reading.next:  # fetched before the partition was given back and came again
            return False
        reading.next = m.offset() + 1
        id, replay = marks(m)
        duplicate = False
        if id and replay:
            duplicate = reading.window.holds(id, m.offset())  # a replay makes no other record a duplicate
        elif id:
            duplicate = reading.window.seen(id, m.offset())  # also of what is not shown
        return not duplicate and m.offset() >= reading.show and (self.replays or not replay)
    # end
