import sys

import anthropic

client = anthropic.Anthropic(base_url=f"https://web.{sys.argv[1]}.test", api_key="sk-of-the-upstream")
question = [{"role": "user", "content": "Say hello."}]
print(client.messages.create(model="any", max_tokens=10, messages=question).content[0].text)
with client.messages.stream(model="any", max_tokens=10, messages=question) as stream:
    for text in stream.text_stream:
        print(text)
