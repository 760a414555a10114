"""A server of lucebox that a benchmark starts for itself, on a free port of this machine."""
import re
import subprocess
from urllib.parse import urlsplit


class Server:
    def __init__(self, words):
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if found := re.search(r"at\s+(http://\S+)", line):
                self.host, self.port = urlsplit(found.group(1)).hostname, urlsplit(found.group(1)).port
                return
        raise SystemExit("the server does not start")

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
