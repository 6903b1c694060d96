import sys
import urllib.error
import urllib.request

try:
    with urllib.request.urlopen(f"https://web.{sys.argv[1]}.test/hello") as response:
        print(response.read().decode())
except urllib.error.HTTPError as denied:
    sys.exit(f"{denied}: {denied.read().decode()}")
