import sys

import requests

response = requests.get(f"https://web.{sys.argv[1]}.test/hello")
print(response.text)
response.raise_for_status()
