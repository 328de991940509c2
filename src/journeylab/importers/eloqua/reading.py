"""Eloqua's campaigns as journeys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, Final

from journeylab.expressions import MessageEvent, Or
from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Export, Part
from journeylab.importers.moments import instant_in, wait_until_instant
from journeylab.importers.outcomes import Verdict
from journeylab.importers.spans import span
from journeylab.journey import WEEKDAYS

from .decisions import Decisions, Question
from .entries import Entry, begin, entry_of
from .steptypes import DECISIONS, ENTRIES, NODE_TYPES

__all__ = ["journeys_of"]

_SPELLINGS: Final = {"CampaignWebSiteVisitRule": "CampaignWebsiteVisitRule"}
_DECISIONS: Final = frozenset(one.name for one in DECISIONS)
_ENTRIES: Final = frozenset(one.name for one in ENTRIES)
_REPORTS: Final = ("CampaignLandingPage", "CampaignForm")
_LISTS: Final = {
    "CampaignAddToContactListAction": True, "CampaignMoveToContactListAction": True,
    "CampaignRemoveFromContactListAction": False,
}  # fmt: skip
_CALLS: Final = {
    "CampaignSms": "sms", "CampaignAddToProgramAction": "program", "CampaignMoveToProgramAction": "program",
    "CanvasAddToProgramAction": "program", "CanvasMoveToProgramAction": "program",
    "CampaignAddToProgramBuilderAction": "program", "CampaignMoveToProgramBuilderAction": "program",
    "CampaignCloudAction": "app", "CampaignSendToCloudConnectorAction": "app",
}  # fmt: skip
_SUPPRESSED: Final = {
    "isAllowingSentToUnsubscribe": "unsubscribed", "isAllowingSentToMasterExclude": "excluded from all e-mails",
}  # fmt: skip
_BATCHES: Final = {"sendEmailsOverANumberOfHours": "hours", "sendEmailsOverANumberOfDays": "days"}


def journeys_of(export: Export) -> list[Draft]:
    """The journeys of an export: one campaign, or a page of campaigns as a search gives it, or several files."""
    tops = [export.top, *(export.part_of(data, (name,)) for name, data in export.files.items())]
    drafts: list[Draft] = []
    for top in tops:
        for campaign in top.parts("elements") if _is_page(top) else [top]:
            with export.noting():
                drafts.append(_Campaign(export, campaign).draft)
    return drafts


class _Campaign:
    """One campaign that is being read."""

    def __init__(self, export: Export, part: Part) -> None:
        self._export, self._part = export, part
        self.draft = draft = Draft(export, NODE_TYPES, part.text("name"), part)
        if export.timezone is not None:
            draft.fields["timezone"] = export.timezone
        self._steps: dict[str, Part] = {}
        self._targets: dict[str, Mapping[str, str]] = {}
        self._emails: dict[str, list[str]] = {}
        self._before: dict[str, list[str]] = {}
        self._hours: dict[str, dict[str, Any]] = {}
        self._decisions = Decisions(draft, self._sends, self._message)
        n_faults = len(export.faults)
        self._each(part.parts("elements", needed=True), self._add)
        self._each(self._steps.values(), self._connect)
        self._each([self._steps[one] for sends in self._emails.values() for one in sends], self._prepare)
        if len(export.faults) > n_faults:
            return
        entries: list[Entry] = []
        for step in self._steps.values():
            with export.noting():
                if self._kind(step) in _ENTRIES:
                    entries.append(entry_of(step, part.text("id", ""), self._goes(step, "out"), draft))
                    draft.did(step, self._kind(step), self._label(step), "trigger")
                else:
                    self._step(step)
        if len(export.faults) > n_faults:
            return
        if not entries:
            raise part.malformed("no segment, feeder or input brings contacts into it", "elements")
        begin(draft, part, entries)
        self._notes()

    def _each(self, steps: Iterable[Part], do: Callable[[Part], None]) -> None:
        """Does something with each step, and goes on after what is at fault."""
        for step in steps:
            with self._export.noting():
                do(step)

    # Steps and where they lead

    def _add(self, step: Part) -> None:
        identity, kind = step.text("id"), self._kind(step)
        if identity in self._steps:
            raise step.malformed(f"there are two steps with the id {identity}", "id")
        self._steps[identity] = step
        if kind not in _ENTRIES:
            self.draft.name(identity, self._label(step))
        if kind == "CampaignEmail":
            self._emails.setdefault(step.text("emailId"), []).append(identity)

    @staticmethod
    def _kind(step: Part) -> str:
        kind = step.choice("type", [*(one.name for one in NODE_TYPES), *_SPELLINGS], "types of steps")
        return _SPELLINGS.get(kind, kind)

    @staticmethod
    def _label(step: Part) -> str:
        title = next((one.title for one in NODE_TYPES if one.name == step.data.get("type")), "step")
        return step.optional("name") or title

    def _connect(self, step: Part) -> None:
        """Notes the ids of the steps that a step leads to, by its terminals."""
        found: dict[str, str] = {}
        for terminal in step.parts("outputTerminals"):
            kind = terminal.choice("terminalType", ("out", "yes", "no", "system"), "terminals", "out")
            target = terminal.text("connectedId")
            if target not in self._steps:
                raise terminal.malformed(f"there is no step {target!r}", "connectedId")
            if kind in found:
                raise terminal.malformed(f"the step leads to two others by its terminal {kind!r}", "terminalType")
            found[kind] = target
        self._targets[step.text("id")] = found

    def _goes(self, step: Part, terminal: str) -> str:
        """The node that a terminal leads to: the exit where nothing is connected, and where the contact stays there."""
        target = self._targets[step.text("id")].get(terminal)
        if target is None:
            return self.draft.exit()
        if self._kind(self._steps[target]) in _ENTRIES:
            raise step.malformed("it leads to a step by which contacts enter", "outputTerminals")
        before = self._before.get(target)
        return before[0] if before else self.draft.name(target)

    def _step(self, step: Part) -> None:
        kind = self._kind(step)
        name = self.draft.name(step.text("id"))
        if kind in _DECISIONS:
            self._decision(step, kind, name)
        elif kind in _LISTS:
            flag = self.draft.attribute(f"list_{step.text('listId')}", step)
            self._did(step, kind, self.draft.node(name, step, set={flag: _LISTS[kind]}, next=self._goes(step, "out")))
        elif kind in _CALLS:
            service = name_of(f"{_CALLS[kind]} {self._label(step)}", "service")
            step.skip(*step.data)
            self.draft.node(name, step, call=service, next=self._goes(step, "out"))
            self._did(step, kind, name, but=f"its service is {service}")
        elif kind in _REPORTS:
            step.skip("landingPageId", "formId")
            self.draft.passes(name, self._goes(step, "out"))
            self._did(step, kind)
        else:
            do: Callable[[Part, str, str], None] = {
                "CampaignEmail": self._email,
                "CampaignWaitAction": self._wait,
            }.get(kind, self._membership)
            do(step, kind, name)

    def _did(self, step: Part, kind: str, *becomes: str, but: str = "") -> None:
        self.draft.did(step, kind, self._label(step), *becomes, but=but)

    # Each kind

    def _sends(self, email: str) -> list[str]:
        """The nodes that send an e-mail."""
        return [self.draft.name(one) for one in self._emails.get(email, [])]

    def _message(self, email: str) -> str:
        """The message of an e-mail, which is called after the first step that sends it."""
        sends = self._emails.get(email)
        return self.draft.message(self._label(self._steps[sends[0]]) if sends else f"email {email}", email)

    def _email(self, step: Part, kind: str, name: str) -> None:
        draft, email = self.draft, step.text("emailId")
        onward, but = self._goes(step, "out"), []
        said: dict[str, Any] = {"send": self._message(email)}
        if step.text("stoType", "none") != "none":
            said |= {"at": {"best": "best", "within": "1d"}, "expires": "1d"}
            but.append(
                "its hour is the best of the next day by the scores of a model `best` (rule 17); there, its own model "
                "chooses within the delay period"
            )
        period = step.choice("sendTimePeriod", ("sendAllEmailAtOnce", *_BATCHES), "ways to send", "sendAllEmailAtOnce")
        if period in _BATCHES:
            length = span(step, "sendTimeLength", step.number("sendTimeLength"), _BATCHES[period])
            but.append(f"everybody is sent it at once here, and there in batches over {length}")
        for key, whom in _SUPPRESSED.items():
            if step.flag(key, default=False):
                but.append(f"those who are {whom} are not sent it here (rule 17)")
        draft.node(name, step, **said, next=onward)
        becomes, first_node = [name], name
        for before in reversed(self._before[step.text("id")]):
            if before.startswith("hours_of_"):
                draft.node(before, step, wait_until=self._hours[step.text("id")], next=first_node)
            else:
                sent = tuple(MessageEvent("sent", one) for one in self._sends(email))
                clause = {"if": draft.condition(Or(sent) if len(sent) > 1 else sent[0], step), "go": onward}
                draft.node(before, step, decide=[clause], otherwise=first_node)
            becomes.insert(0, before)
            first_node = before
        if self._before[step.text("id")] and "schedule" in step:
            but.append("its hours are the contact's own (rule 3), there those of the schedule's zone")
        self._did(step, kind, *becomes, but="; ".join(but))

    def _prepare(self, step: Part) -> None:
        """Names what stands before an e-mail: a question whether it was sent before, and a wait for its hours."""
        identity, name = step.text("id"), self.draft.name(step.text("id"))
        before = []
        again = step.flag("isAllowingResend", default=False)
        if not again and (len(self._emails[step.text("emailId")]) > 1 or self._returns(identity)):
            before.append(self.draft.free(f"may_{name}"))
        hours = self._schedule(step)
        if hours is not None:
            self._hours[identity] = hours
            before.append(self.draft.free(f"hours_of_{name}"))
        self._before[identity] = before

    def _returns(self, identity: str) -> bool:
        """Whether a way leads from a step back to it."""
        seen: set[str] = set()
        waiting = [*self._targets.get(identity, {}).values()]
        while waiting:
            one = waiting.pop()
            if one == identity:
                return True
            if one not in seen:
                seen.add(one)
                waiting += self._targets.get(one, {}).values()
        return False

    def _schedule(self, step: Part) -> dict[str, Any] | None:
        """The local window in which an e-mail is sent, None where it is sent at any hour."""
        schedule = step.optional_part("schedule")
        if schedule is None:
            return None
        schedule.skip("displayTimeZoneId", "type", "id")
        windows: dict[tuple[str, str], list[int]] = {}
        for one in schedule.parts("elements"):
            start = one.whole("relativeStart")
            day = start // 86_400
            end = one.whole("relativeEnd", (day + 1) * 86_400)
            if not 0 <= start < end <= start + 86_400 or day > 6:
                raise one.malformed(f"from {start} to {end} seconds is no part of a day of the week")
            windows.setdefault((_clock(start), _clock(end, end=True)), []).append(day)
        if not windows:
            return None
        if len(windows) > 1:
            why = "the hours of its days differ, and a window has the same on each day (rule 4)"
            self.draft.left_out(schedule, "hours of the e-mail", why)
            return None
        ((between, days),) = windows.items()
        if between[0] == between[1]:
            between = ("00:00", "24:00")
        return {"between": [*between], "days": [day for i, day in enumerate(WEEKDAYS) if (i + 1) % 7 in days]}

    def _wait(self, step: Part, kind: str, name: str) -> None:
        onward = self._goes(step, "out")
        if "waitUntil" in step:
            wait_until_instant(self.draft, name, step, instant_in(step, "waitUntil", self._export.timezone), onward)
            self._did(step, kind, name)
            return
        seconds = step.number("waitFor")
        length = span(step, "waitFor", seconds, "seconds")
        if seconds <= 0:
            self.draft.passes(name, onward)
            self._did(step, kind, but="it waits for nothing, and has no node here")
            return
        self._did(step, kind, self.draft.node(name, step, wait=length, next=onward))

    def _membership(self, step: Part, kind: str, name: str) -> None:
        """Another campaign is joined or left."""
        draft, own = self.draft, self._part.text("id", "")
        campaign = step.text("campaignId", own if kind == "CampaignRemoveFromCampaignAction" else "")
        if not campaign:
            raise step.malformed("this is missing", "campaignId")
        properties = {"campaign": campaign}
        if kind == "CampaignRemoveFromCampaignAction":
            if campaign == own:
                draft.node(name, step, exit="left")
                step.skip("outputTerminals")
                self._did(step, kind, name)
                return
            draft.node(name, step, emit={"event": "campaign_left", "with": properties}, next=self._goes(step, "out"))
        else:
            properties |= {"step": step.text("campaignElementId")} if "campaignElementId" in step else {}
            moves = kind == "CampaignMoveToCampaignAction"
            onward = draft.exit("moved") if moves else self._goes(step, "out")
            draft.node(name, step, emit={"event": "campaign_joined", "with": properties}, next=onward)
        self._did(step, kind, name)

    # Decisions

    def _decision(self, step: Part, kind: str, name: str) -> None:
        draft = self.draft
        yes, no = self._goes(step, "yes"), self._goes(step, "no")
        if kind == "CampaignAudienceSplitRule":
            share = Fraction(str(step.number("percentage"))) / 100
            if not 0 <= share <= 1:
                raise step.malformed("a share lies between 0 and 100", "percentage")
            draft.arms(name, step, [("yes", share, yes), ("no", 1 - share, no)])
            self._did(step, kind, name)
            return
        if kind == "CampaignCloudDecision":
            service = name_of(f"app {self._label(step)}", "service")
            step.skip(*step.data)
            draft.node(name, step, call=service, next=yes, failed=no)
            self._did(step, kind, name, but=f"its service is {service}")
            return
        question = self._decisions.question(step, kind)
        seconds = step.number("evaluateNoAfter", 0)
        if seconds < 0:
            raise step.malformed("a period is not negative", "evaluateNoAfter")
        period = span(step, "evaluateNoAfter", seconds, "seconds") if seconds else None
        but = [question.but] if question.but else []
        if period is not None:
            but.append(f"its evaluation period is {period}")
        self._did(step, kind, *self._asked(step, name, question, (yes, no), period), but="; ".join(but))

    def _asked(
        self, step: Part, name: str, question: Question, leads: tuple[str, str], period: str | None
    ) -> list[str]:
        """Writes the nodes that ask a question, over a period where there is one."""
        draft, (yes, no) = self.draft, leads
        if period is not None and question.awaited is not None and question.is_open:
            draft.node(name, step, wait_for=question.awaited, within=period, then=yes, otherwise=no)
            return [name]
        clause = {"if": draft.condition(question.now, step), "go": yes}
        if period is None:
            draft.node(name, step, decide=[clause], otherwise=no)
            return [name]
        waits = draft.free(f"{name}_waits")
        draft.node(name, step, decide=[clause], otherwise=waits)
        if question.awaited is not None:
            draft.node(waits, step, wait_for=question.awaited, within=period, then=yes, otherwise=no)
            return [name, waits]
        again = draft.free(f"{name}_again")
        draft.node(waits, step, wait=period, next=again)
        draft.node(again, step, decide=[dict(clause)], otherwise=no)
        return [name, waits, again]

    # The campaign

    def _notes(self) -> None:
        draft, part = self.draft, self._part
        if part.optional("endAt"):
            ends = instant_in(part, "endAt", None)
            note = f"it ends at {ends:%Y-%m-%d %H:%M} UTC there; a journey here goes on until it is paused (rule 28)"
            draft.left_out(part, "end", note)
        if any("send" in node for node in draft.nodes.values()):
            note = (
                "who unsubscribes stays in the campaign there and is sent nothing; here the entry ends with the exit "
                "consent_withdrawn (rule 14)"
            )
            draft.note(part, "unsubscribing", Verdict.approximated, note=note)
        local = self._hours or any("at" in node for node in draft.nodes.values())
        if local and self._export.timezone is None:
            note = "hours of contacts without a zone are those of UTC here (rule 3): convert with --timezone for others"
            draft.note(part, "time zone", Verdict.approximated, "timezone", note=note)


def _is_page(top: Part) -> bool:
    """Whether it is a page of campaigns, whose `elements` are campaigns and not steps."""
    found = top.raw("elements", [])
    return isinstance(found, list) and any(isinstance(one, dict) and one.get("type") == "Campaign" for one in found)


def _clock(seconds: int, *, end: bool = False) -> str:
    """A time of day from seconds of a week."""
    of_day = seconds % 86_400
    if end and not of_day:
        return "24:00"
    return f"{of_day // 3600:02d}:{of_day % 3600 // 60:02d}"
