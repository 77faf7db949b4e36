"""A bot on python-telegram-bot that polls a Bot API server and reports what it sees, one JSON object a line.

usage: telegram_ptb.py ROOT_URL TOKEN
"""

import asyncio
import json
import sys

from telegram import BotCommand, InlineKeyboardButton, InlineKeyboardMarkup
from telegram.constants import ChatAction
from telegram.error import BadRequest, Forbidden, InvalidToken, RetryAfter
from telegram.ext import ApplicationBuilder, CallbackQueryHandler, CommandHandler, MessageHandler, filters


def report(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


async def ready(app):
    await app.bot.set_my_commands([BotCommand("edit", "send and edit"), BotCommand("buttons", "show buttons")])
    commands = await app.bot.get_my_commands()
    hook = await app.bot.get_webhook_info()
    report("ready", username=app.bot.username, commands=[c.command for c in commands], webhook=hook.url)


async def echo(update, _context):
    message = update.effective_message
    mentions = list(message.parse_entities(["mention"]).values())
    report(
        "heard",
        text=message.text,
        chat=message.chat.type,
        user=update.effective_user.first_name,
        mentions=mentions,
        edited=update.edited_message is not None,
        reply_to=message.reply_to_message.text if message.reply_to_message else None,
    )
    await message.chat.send_action(ChatAction.TYPING, message_thread_id=message.message_thread_id)
    while True:
        try:
            await message.reply_text(message.text, do_quote=True)
            return
        except RetryAfter as error:
            # A number of seconds or a timedelta, as the library is set.
            seconds = getattr(error._retry_after, "total_seconds", lambda: error._retry_after)()
            report("retry_after", seconds=seconds)
            await asyncio.sleep(seconds)


async def edit(update, _context):
    message = await update.effective_message.reply_text("one")
    message = await message.edit_text("<b>two</b>", parse_mode="HTML")
    report("edited", text=message.text, bold=[message.parse_entity(e) for e in message.entities])
    try:
        await message.edit_text("<b>two</b>", parse_mode="HTML")
    except BadRequest as error:
        report("refused", why=error.message)
    await update.effective_message.delete()


async def buttons(update, _context):
    keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Yes", callback_data="yes")]])
    await update.effective_message.reply_text("sure?", reply_markup=keyboard)


async def pressed(update, _context):
    await update.callback_query.answer("noted")
    await update.callback_query.edit_message_text(f"pressed {update.callback_query.data}")


async def document(update, _context):
    file = await update.effective_message.document.get_file()
    content = bytes(await file.download_as_bytearray())
    await update.effective_message.reply_text(content.decode())


async def limits(update, context):
    chat = update.effective_chat.id
    attempts = {
        "long": {"chat_id": chat, "text": "x" * 4097},
        "markup": {"chat_id": chat, "text": "1. one", "parse_mode": "MarkdownV2"},
        "nobody": {"chat_id": 999, "text": "hello"},
        "blocked": {"chat_id": int(context.args[0]), "text": "hello"},
    }
    for name, attempt in attempts.items():
        try:
            await context.bot.send_message(**attempt)
        except (BadRequest, Forbidden) as error:
            report("refused", what=name, kind=type(error).__name__, why=error.message)
    full = await context.bot.get_chat(chat)
    report("chat", id=full.id, kind=full.type)


async def trouble(_update, context):
    report("trouble", kind=type(context.error).__name__, why=str(context.error))


def main():
    root, token = sys.argv[1:]
    builder = ApplicationBuilder().token(token).base_url(f"{root}/bot").base_file_url(f"{root}/file/bot")
    app = builder.post_init(ready).build()
    app.add_handler(CommandHandler("edit", edit))
    app.add_handler(CommandHandler("buttons", buttons))
    app.add_handler(CommandHandler("limits", limits))
    app.add_handler(CallbackQueryHandler(pressed))
    app.add_handler(MessageHandler(filters.Document.ALL, document))
    app.add_handler(MessageHandler(filters.TEXT, echo))
    app.add_error_handler(trouble)
    try:
        app.run_polling(timeout=20, bootstrap_retries=0)
    except InvalidToken:
        report("rejected")
        sys.exit(3)


main()
