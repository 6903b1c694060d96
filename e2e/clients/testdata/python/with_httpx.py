import sys

import httpx

with httpx.Client(http2=sys.argv[2:] == ["2"]) as client:
    response = client.get(f"https://web.{sys.argv[1]}.test/hello")
    print(response.http_version, response.text)
    response.raise_for_status()
