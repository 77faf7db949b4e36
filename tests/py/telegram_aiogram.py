"""A bot on aiogram that polls a Bot API server and reports what it sees, one JSON object a line.

usage: telegram_aiogram.py ROOT_URL TOKEN
"""

import asyncio
import json
import logging
import sys

from aiogram import Bot, Dispatcher, F
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.enums import ChatAction
from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramRetryAfter,
    TelegramUnauthorizedError,
)
from aiogram.filters import Command, CommandObject
from aiogram.types import BotCommand, CallbackQuery, InlineKeyboardButton, InlineKeyboardMarkup, Message

dispatcher = Dispatcher()


def report(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Trouble(logging.Handler):
    """aiogram only logs what goes wrong with a poll."""

    def emit(self, record):
        if str(record.msg).startswith("Failed to fetch updates"):
            kind, error = record.args
            report("trouble", kind=kind, why=str(error))


@dispatcher.startup()
async def ready(bot: Bot):
    await bot.set_my_commands(
        [
            BotCommand(command="edit", description="send and edit"),
            BotCommand(command="buttons", description="show buttons"),
        ]
    )
    commands = await bot.get_my_commands()
    hook = await bot.get_webhook_info()
    me = await bot.me()
    report("ready", username=me.username, commands=[c.command for c in commands], webhook=hook.url)


@dispatcher.message(Command("edit"))
async def edit(message: Message):
    sent = await message.answer("one")
    sent = await sent.edit_text("<b>two</b>", parse_mode="HTML")
    bold = [entity.extract_from(sent.text) for entity in sent.entities]
    report("edited", text=sent.text, bold=bold)
    try:
        await sent.edit_text("<b>two</b>", parse_mode="HTML")
    except TelegramBadRequest as error:
        report("refused", why=error.message)
    await message.delete()


@dispatcher.message(Command("buttons"))
async def buttons(message: Message):
    button = InlineKeyboardButton(text="Yes", callback_data="yes")
    await message.answer("sure?", reply_markup=InlineKeyboardMarkup(inline_keyboard=[[button]]))


@dispatcher.callback_query()
async def pressed(query: CallbackQuery):
    await query.answer("noted")
    await query.message.edit_text(f"pressed {query.data}")


@dispatcher.message(Command("limits"))
async def limits(message: Message, command: CommandObject, bot: Bot):
    attempts = {
        "long": {"chat_id": message.chat.id, "text": "x" * 4097},
        "markup": {"chat_id": message.chat.id, "text": "1. one", "parse_mode": "MarkdownV2"},
        "nobody": {"chat_id": 999, "text": "hello"},
        "blocked": {"chat_id": int(command.args), "text": "hello"},
    }
    for name, attempt in attempts.items():
        try:
            await bot.send_message(**attempt)
        except (TelegramBadRequest, TelegramForbiddenError) as error:
            kind = type(error).__name__.removeprefix("Telegram").removesuffix("Error")
            report("refused", what=name, kind=kind, why=error.message)
    full = await bot.get_chat(message.chat.id)
    report("chat", id=full.id, kind=full.type)


@dispatcher.message(F.document)
async def document(message: Message, bot: Bot):
    content = await bot.download(message.document)
    await message.answer(content.read().decode())


@dispatcher.message(F.text)
@dispatcher.edited_message(F.text)
async def echo(message: Message, bot: Bot):
    entities = message.entities or []
    mentions = [entity.extract_from(message.text) for entity in entities if entity.type == "mention"]
    report(
        "heard",
        text=message.text,
        chat=message.chat.type,
        user=message.from_user.first_name,
        mentions=mentions,
        edited=message.edit_date is not None,
        reply_to=message.reply_to_message.text if message.reply_to_message else None,
    )
    await bot.send_chat_action(message.chat.id, ChatAction.TYPING, message_thread_id=message.message_thread_id)
    while True:
        try:
            await message.reply(message.text)
            return
        except TelegramRetryAfter as error:
            report("retry_after", seconds=error.retry_after)
            await asyncio.sleep(error.retry_after)


async def main():
    root, token = sys.argv[1:]
    logging.getLogger("aiogram.dispatcher").addHandler(Trouble())
    session = AiohttpSession(api=TelegramAPIServer.from_base(root))
    async with Bot(token, session=session) as bot:
        try:
            await dispatcher.start_polling(bot, polling_timeout=20)
        except TelegramUnauthorizedError:
            report("rejected")
            sys.exit(3)


asyncio.run(main())
