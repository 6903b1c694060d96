import sys

import openai

client = openai.OpenAI(base_url=f"https://web.{sys.argv[1]}.test/v1", api_key="sk-of-the-upstream")
question = [{"role": "user", "content": "Say hello."}]
try:
    print(client.chat.completions.create(model="any", messages=question).choices[0].message.content)
    for chunk in client.chat.completions.create(model="any", messages=question, stream=True):
        print(chunk.choices[0].delta.content)
except openai.APIStatusError as denied:
    # As a text the error is its status alone.
    sys.exit(f"{denied}: {denied.response.text}")
