"""Celery with Redis as its broker.

    peer.py work | enqueue-slow | produce single SECONDS BACKLOG

Late acknowledgement, because without it a job in hand is lost with its worker. Many messages reserved ahead, as
"Optimizing" of its documentation says for short tasks. It has no call that enqueues a batch.
"""

import os
import sys
import threading
import time

import talk
from celery import Celery, signals

BROKER = os.environ["PEER_REDIS_URL"]
# Worker processes: one for each core, which is its default.
CONCURRENCY = os.cpu_count()

app = Celery("peer", broker=BROKER)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
    broker_pool_limit=talk.CLIENTS,
    broker_connection_retry_on_startup=True,
    worker_redirect_stdouts=False,
)


@app.task(name="nothing")
def nothing():
    pass


@app.task(name="slow")
def slow():
    talk.started()
    time.sleep(talk.SLOW_SECONDS)


@signals.worker_ready.connect
def tell(**_):
    talk.say(ready=True)


def work():
    name = f"worker{os.getpid()}@localhost"
    options = ["--without-gossip", "--without-mingle", "--loglevel=ERROR", f"--hostname={name}"]
    app.worker_main(["worker", f"--concurrency={CONCURRENCY}", *options])


def produce(mode, seconds, backlog):
    import redis

    store = redis.Redis.from_url(BROKER)
    seconds, backlog = float(seconds), int(backlog)
    sent = [0] * talk.CLIENTS
    left = 0

    def count():
        return store.llen("celery") + store.hlen("unacked")

    def client(number):
        while time.monotonic() - begun < seconds:
            if left >= backlog:
                time.sleep(0.005)
                continue
            nothing.apply_async()
            sent[number] += 1

    def watch():
        nonlocal left
        while True:
            left = count()
            time.sleep(0.02)

    talk.wait_for_go()
    begun = time.monotonic()
    threading.Thread(target=watch, daemon=True).start()
    clients = [threading.Thread(target=client, args=(number,)) for number in range(talk.CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    while count():
        time.sleep(0.005)
    talk.say(count=sum(sent), seconds=time.monotonic() - begun)


if __name__ == "__main__":
    # The workers of `prefork` import this file by its name.
    role, *rest = sys.argv[1:]
    if role == "work":
        work()
    elif role == "enqueue-slow":
        slow.apply_async()
    else:
        produce(*rest)
