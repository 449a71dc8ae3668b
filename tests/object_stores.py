"""An object store for tests: moto's server of S3 in a process of its own, whose buckets are emptied for each test."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ports import kept_port
from waiting import until

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass
class ObjectStore:
    """A server of S3 on this computer.

    Attributes:
        endpoint: its address
        environment: of processes that use it
    """

    endpoint: str
    environment: dict[str, str] = field(default_factory=dict)

    def client(self) -> Any:
        """A client by the makers of S3, to judge what ours did."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        )

    def put(self, key: str, body: bytes, bucket: str = "study") -> None:
        self.client().put_object(Bucket=bucket, Key=key, Body=body)

    def get(self, key: str, bucket: str = "study") -> bytes:
        body: bytes = self.client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def keys(self, prefix: str = "", bucket: str = "study") -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(one["Key"] for page in pages for one in page.get("Contents", ()))

    def reset(self) -> None:
        """No buckets but an empty one, "study"."""
        client = self.client()
        for bucket in [one["Name"] for one in client.list_buckets()["Buckets"]]:
            for key in self.keys(bucket=bucket):
                client.delete_object(Bucket=bucket, Key=key)
            client.delete_bucket(Bucket=bucket)
        client.create_bucket(Bucket="study")


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server within the block."""
    with kept_port() as port:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:

            def answers() -> bool:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    return True
                return False

            until(answers, "moto did not start", alive=lambda: process.poll() is None)
            endpoint = f"http://127.0.0.1:{port}"
            yield ObjectStore(endpoint, {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint})
        finally:
            process.kill()
            process.wait()
