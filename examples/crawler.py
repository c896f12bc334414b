"""A crawler: what fails is tried again, what is hopeless is dead, a host is asked every 0.1 s."""

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

from persistqueue import JobQueue, Retry, Snooze

SITE = {"/": "/a /b http://localhost:1/gone", "/a": "/ /b", "/b": "/a"}  # page -> its links
free: dict[str, float] = {}  # host -> when it may be asked
pages: dict[str, str] = {}
jobs = JobQueue[str]("crawl.db", retry=Retry(max_attempts=3, first=0.05))


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + SITE[self.path].encode())


def crawl(url: str) -> None:
    host, now = urlsplit(url).netloc, time.monotonic()
    if (wait := free.get(host, 0) - now) > 0:
        raise Snooze(wait)  # the job comes later; that costs no attempt
    free[host] = now + 0.1
    with urlopen(url) as page:  # an error: the job is tried again
        pages[url] = page.read().decode()
    for link in {urljoin(url, link) for link in pages[url].split()} - pages.keys():
        jobs.put(link, key=link)  # once


with ThreadingHTTPServer(("localhost", 0), Site) as site, jobs, jobs.worker(crawl):
    Thread(target=site.serve_forever).start()
    jobs.put(f"http://localhost:{site.server_port}/")
    jobs.join()  # until nothing is left to crawl
    print(f"{len(pages)} pages; dead:", *(job.item for job in jobs.dead.browse()))
    site.shutdown()
