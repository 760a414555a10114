"""Claude Code through claude-agent-sdk: Read, Edit, Bash, and an answer, with thoughts in between."""
import asyncio
import importlib.metadata

import claude_agent_sdk as sdk

from task import ANSWER, PROMPT, Task, call


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


def main():
    task = Task(rules)
    used, answer = asyncio.run(asyncio.wait_for(ask(task), 120))
    task.verdict("Claude Code, claude-agent-sdk " + importlib.metadata.version("claude-agent-sdk"), answer, f"tools {used}")


main()
