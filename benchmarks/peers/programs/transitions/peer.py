"""The transitions library with SQLAlchemy: a state machine whose state is a row, as a Python team would write it.

    peer.py prepare | steps IN_FLIGHT SECONDS

One step is one transaction: lock the row, fire the trigger, write the new state, insert an event, commit.
"""

import sys
import threading
import time

import talk
from sqlalchemy import BigInteger, ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from transitions import Machine

STATES = ["backlog", "analysis", "design", "work", "review", "testing"]
# Connections of one process; more threads than that wait for one.
POOL = 16


class Base(DeclarativeBase):
    pass


class Run(Base):
    __tablename__ = "run"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    state: Mapped[str]
    version: Mapped[int]


class Event(Base):
    __tablename__ = "event"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    version: Mapped[int]
    source: Mapped[str]
    target: Mapped[str]


class Story:
    pass


def machine():
    story = Story()
    made = Machine(model=story, states=STATES, initial="backlog", auto_transitions=False)
    made.add_ordered_transitions(trigger="advance")
    return made, story


def advance(engine, made, story, run_id):
    with Session(engine) as session, session.begin():
        run = session.get(Run, run_id, with_for_update=True)
        made.set_state(run.state)
        story.advance()
        run.version += 1
        session.add(Event(run_id=run_id, version=run.version, source=run.state, target=story.state))
        run.state = story.state


def new_run(engine):
    with Session(engine) as session, session.begin():
        run = Run(state="backlog", version=0)
        session.add(run)
        session.flush()
        return run.id


def steps(in_flight, seconds):
    engine = create_engine(talk.DATABASE_URL.replace("postgresql://", "postgresql+psycopg://"), pool_size=POOL)
    runs = [new_run(engine) for _ in range(in_flight)]
    workflows, times = [], []

    def lane(run_id):
        made, story = machine()
        while time.monotonic() - begun < seconds:
            start = time.perf_counter()
            for _ in range(talk.STEPS):
                before = time.perf_counter()
                advance(engine, made, story, run_id)
                times.append((time.perf_counter() - before) * 1000)
            workflows.append((time.perf_counter() - start) * 1000)

    talk.wait_for_go()
    begun = time.monotonic()
    lanes = [threading.Thread(target=lane, args=(run_id,)) for run_id in runs]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()
    talk.say(count=len(times), seconds=time.monotonic() - begun, steps=times, workflows=workflows)


def main(role, *rest):
    if role == "prepare":
        Base.metadata.create_all(create_engine(talk.DATABASE_URL.replace("postgresql://", "postgresql+psycopg://")))
    else:
        steps(int(rest[0]), float(rest[1]))


main(*sys.argv[1:])
