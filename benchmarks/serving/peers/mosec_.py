"""mosec: the body as it comes; its kind is told by an environment variable, since workers see no headers."""

import os

import numpy as np
from mosec import Server, Worker
from work import Work, decode, encode

KIND, BATCH, WORKERS = os.environ["KIND"], int(os.environ["BATCH"]), int(os.environ["WORKERS"])


class Served(Worker):
    def __init__(self):
        super().__init__()
        self.work = Work()

    def deserialize(self, data):
        return decode(data, KIND)

    def serialize(self, data):
        return encode(data, KIND)

    def forward(self, data):
        if BATCH == 1:
            return self.work.run(data)
        return np.split(self.work.run(np.concatenate(data)), np.cumsum([len(item) for item in data])[:-1])


if __name__ == "__main__":
    server = Server()
    server.append_worker(Served, num=WORKERS, max_batch_size=BATCH, max_wait_time=1 if BATCH > 1 else 0)
    server.run()
