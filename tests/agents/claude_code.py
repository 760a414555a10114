"""Claude Code: Read, Edit, Bash, and an answer, with thoughts in between; through claude-agent-sdk, and as `lucebox claude` starts it."""
import asyncio
import importlib.metadata
import json
import sys
from pathlib import Path

import claude_agent_sdk as sdk

from task import ANSWER, LUCEBOX, PROMPT, Task, call

CLAUDE = Path(sdk.__file__).parent / "_bundled/claude"  # the program that the package brings along


def rules(file):
    return [
        {"has": ["Hello world"], "think": "All is well.", "say": ANSWER},
        {"has": ["has been updated"], "think": "Now run it.", "say": "Now I run it.\n\n" + call("Bash", command="python3 greet.py", description="Runs it")},
        {"has": ['return "Helo "'], "think": "A typo.",
         "say": "I mend it.\n\n" + call("Edit", file_path=str(file), old_string='return "Helo "', new_string='return "Hello "')},
        {"has": [PROMPT, "# Tools"], "think": "I read it first.", "say": "I read the file.\n\n" + call("Read", file_path=str(file))},
        {"say": "Greeting"}]  # titles and the like


async def ask(task):
    variables = {"ANTHROPIC_BASE_URL": task.server.url, "ANTHROPIC_AUTH_TOKEN": "sk-lucebox", "ANTHROPIC_MODEL": "lucebox", "HOME": str(task.home),
                 "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
    for tier in ("OPUS", "SONNET", "HAIKU"):
        variables[f"ANTHROPIC_DEFAULT_{tier}_MODEL"] = "lucebox"
    options = sdk.ClaudeAgentOptions(cwd=task.repository, env=variables, allowed_tools=["Read", "Edit", "Bash"], max_turns=8, setting_sources=[],
                                     system_prompt={"type": "preset", "preset": "claude_code"}, include_partial_messages=True)
    used, answer = [], ""
    async for message in sdk.query(prompt=PROMPT, options=options):
        if isinstance(message, sdk.AssistantMessage):
            used += [block.name for block in message.content if isinstance(block, sdk.ToolUseBlock)]
        if isinstance(message, sdk.ResultMessage):
            answer = message.result or ""
    return used, answer


def ask_through_launcher(task):
    words = [LUCEBOX, "claude", "--url", task.server.url, "--", "--print", "--output-format", "stream-json", "--verbose", "--allowedTools", "Read,Edit,Bash",
             "--max-turns", "8", "--", PROMPT]
    code, out, errors = task.run(words, timeout=120, PATH=f"{CLAUDE.parent}:/usr/bin:/bin")
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    used = [block["name"] for event in events if event["type"] == "assistant" for block in event["message"]["content"] if block["type"] == "tool_use"]
    results = [event.get("result") or "" for event in events if event["type"] == "result"]
    return used, results[-1] if results and code == 0 else out + errors


def main(with_launcher):
    task = Task(rules)
    used, answer = ask_through_launcher(task) if with_launcher else asyncio.run(asyncio.wait_for(ask(task), 120))
    how = " through lucebox claude" if with_launcher else ""
    task.verdict("Claude Code, claude-agent-sdk " + importlib.metadata.version("claude-agent-sdk") + how, answer, f"tools {used}")


main("--launcher" in sys.argv)
