"""The special tokens with which models write calls of tools."""

BAR = "\uff5c"
"""DeepSeek's, which is a wide one."""
CALLED = (
    "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]",
    "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>",
    "<minimax:tool_call>", "</minimax:tool_call>", "<seed:tool_call>", "</seed:tool_call>",
    "<function_call>", "</function_call>", "<tool_calls>", "</tool_calls>",
    "<TOOLCALL>", "</TOOLCALL>",
    "<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>",
    "<|tool_call_end|>", "<|tool_calls_section_end|>",
    "<|tool_call>", "<tool_call|>", '<|"|>',
    "<start_function_call>", "<end_function_call>", "<escape>",
    "<|python_tag|>", "<|python_start|>", "<|python_end|>",
    "<|tool_call|>", "<|/tool_call|>", "<|tool_call_start|>",
    "<|START_ACTION|>", "<|END_ACTION|>",
    *(f"<{BAR}tool▁{name}{BAR}>" for name in
      ("calls▁begin", "calls▁end", "call▁begin", "call▁end", "sep")),
    f"{BAR}DSML{BAR}",
)  # fmt: skip
"""Without these nobody could tell a call from the answer."""
