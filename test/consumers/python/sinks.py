"""Where messages go, and where it is kept how far that is."""

import json
import time

from confluent_kafka import KafkaException, TopicPartition

from once import marks


def line(m):
    """A message as a line of JSON."""
    id, replay = marks(m)
    text = lambda b: None if b is None else b.decode("utf-8", "replace")
    return json.dumps({
        "partition": m.partition(), "offset": m.offset(), "id": id and str(id),
        "key": text(m.key()), "value": text(m.value()), "replay": replay,
    }, ensure_ascii=False)


# begin: printer
class Printer:
    """Prints messages, then commits. What was printed and not committed when the
    process died is printed again."""

    def __init__(self, consumer):
        self.consumer = consumer

    def positions(self, partitions):
        committed = self.consumer.committed(partitions, timeout=30)
        for p in committed:
            if p.error:
                raise KafkaException(p.error)
        return {p.partition: p.offset for p in committed if p.offset >= 0}

    def take(self, topic, partition, messages, done, next):
        for m in messages:
            print(line(m))
        self.commit(topic, partition, next)

    def commit(self, topic, partition, next):
        for p in self.consumer.commit(offsets=[TopicPartition(topic, partition, next)], asynchronous=False):
            if p.error:
                raise KafkaException(p.error)
# end


def make_table(db):
    """What stands for a program's own work: a table with a row for each
    message, in order."""
    db.execute("CREATE TABLE IF NOT EXISTS shown (line TEXT NOT NULL)")


def insert(db, m):
    db.execute("INSERT INTO shown (line) VALUES (?)", (line(m),))


class Positions:
    """Writes messages to a database, and in the same transaction how far it is."""

    def __init__(self, db):
        self.db = db
        make_table(db)
        db.execute(
            "CREATE TABLE IF NOT EXISTS positions (topic TEXT, part INTEGER, next BIGINT NOT NULL, PRIMARY KEY (topic, part))"
        )

    # begin: positions
    def positions(self, partitions):
        positions = {}
        for p in partitions:
            row = self.db.execute("SELECT next FROM positions WHERE topic = ? AND part = ?", (p.topic, p.partition)).fetchone()
            if row:
                positions[p.partition] = row[0]
        return positions

    def take(self, topic, partition, messages, done, next):
        with self.db:  # one transaction
            changed = self.db.execute(
                "INSERT INTO positions (topic, part, next) VALUES (?, ?, ?)"
                " ON CONFLICT (topic, part) DO UPDATE SET next = excluded.next WHERE positions.next = ?",
                (topic, partition, next, done),
            ).rowcount
            if changed != 1:  # a process that was paused, and whose partition another one has
                raise RuntimeError(f"{topic}-{partition}: another process has gone on from {done}")
            for m in messages:
                insert(self.db, m)  # whatever your program does with a message
        for m in messages:
            print(line(m))
    # end


class Ids:
    """Writes messages to a database, in the same transaction as their ids. It
    needs no window."""

    def __init__(self, db, consumer):
        self.db = db
        self.group = Printer(consumer)  # whose positions are those that the group commits
        make_table(db)
        db.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at BIGINT NOT NULL)")

    def positions(self, partitions):
        return self.group.positions(partitions)

    # begin: ids
    def take(self, topic, partition, messages, done, next):
        fresh = []
        with self.db:  # one transaction
            for m in messages:
                id = str(marks(m)[0] or f"{topic}-{partition}@{m.offset()}")
                row = (id, int(time.time() * 1000))  # the time by which old ones are removed
                if self.db.execute("INSERT INTO seen (id, at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", row).rowcount == 1:
                    insert(self.db, m)  # whatever your program does with a message
                    fresh.append(m)
        self.group.commit(topic, partition, next)  # only after the transaction
        for m in fresh:
            print(line(m))
    # end
