"""A bot with a schedule: urgent messages go first, reminders come later, and each comes once."""

from persistqueue import JobQueue

DAY = 0.3  # s; 86,400 where it is real
said: list[str] = []

with JobQueue[str]("bot.db") as jobs:
    jobs.put("good morning")
    jobs.put("fire in the kitchen", priority=-10)  # the lowest goes first
    reminder = jobs.put("water the flowers", delay=DAY, key="flowers")
    again = jobs.put("water the flowers", delay=DAY, key="flowers")
    assert again is None  # there is one, so nothing is stored
    assert reminder is not None
    jobs.reschedule(reminder, delay=2 * DAY)
    jobs.put("lunch is ready", delay=DAY, ttl=3600)  # an hour later it would be of no use
    with jobs.worker(said.append):
        jobs.join()
    print("; ".join(said))
