"""Calls the greeter once, and lets it count: to a number, or for ever with 0."""
import sys

import grpc

channel = grpc.secure_channel(f"grpc.{sys.argv[1]}.test:443", grpc.ssl_channel_credentials())
hello, call = channel.unary_unary("/clients.Greeter/Hello").with_call(b"Ada")
print(hello.decode(), "greeted", dict(call.trailing_metadata()).get("greeted"), flush=True)
counting = channel.unary_stream("/clients.Greeter/Count")(sys.argv[2].encode())
for number in counting:
    print(number.decode(), flush=True)
print("counted", dict(counting.trailing_metadata()).get("counted"))
