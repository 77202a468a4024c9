"""Schedules by the tables of Python's zoneinfo: reads a list of questions as JSON from standard input, prints the list of answers.

dates: of a cron pattern, in epoch seconds.

A pattern that names one time of day runs on every such day: when the gap ends if the time does not exist, once if it exists twice. Any other
pattern runs whenever the clock shows a time of it.
"""
import json, sys
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

def field(text, low, high):
    values = set()
    for part in text.split(','):
        body, _, step = part.partition('/')
        if body == '*':
            first, last = low, high
        elif '-' in body:
            first, last = map(int, body.split('-'))
        else:
            first = last = int(body)
        values.update(range(first, last + 1, int(step or 1)))
    return values

def utc(zone, naive, fold):
    return naive.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc)

def instants(zone, naive, twice):
    first, second = utc(zone, naive, 0), utc(zone, naive, 1)
    if first.astimezone(zone).replace(tzinfo=None) == naive:
        return [first] + ([second] if twice and second != first else [])
    if twice: return []
    # fold=0 uses the offset before the gap, fold=1 the one after it: the transition is between them.
    low, high = second, first
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if middle.astimezone(zone).utcoffset() == before: low = middle
        else: high = middle
    return [high]

def dates(question):
    zone = ZoneInfo(question['zone'])
    minute, hour, dom, month, dow = question['pattern'].split()
    minutes, hours = field(minute, 0, 59), field(hour, 0, 23)
    doms, months, dows = field(dom, 1, 31), field(month, 1, 12), {d % 7 for d in field(dow, 0, 7)}
    twice = not (minute.isdigit() and hour.isdigit())
    start = datetime.fromtimestamp(question['from'], timezone.utc)
    day = start.astimezone(zone).date() - timedelta(days=1)
    found = set()
    while len(found) < question['count'] + 50 and day < date(2100, 1, 1):
        weekday = (day.weekday() + 1) % 7
        if dom != '*' and dow != '*': is_day = day.day in doms or weekday in dows
        else: is_day = day.day in doms and weekday in dows
        if is_day and day.month in months:
            for h in hours:
                for m in minutes:
                    for at in instants(zone, datetime(day.year, day.month, day.day, h, m), twice):
                        if at > start: found.add(int(at.timestamp()))
        day += timedelta(days=1)
    return sorted(found)[:question['count']]

def allowed(question):
    """Which instants are in a window and not on a day of a blackout."""
    zone = ZoneInfo(question['zone'])
    names = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']
    def one(at):
        local = datetime.fromtimestamp(at, timezone.utc).astimezone(zone)
        today = local.date()
        for blackout in question['blackouts']:
            begin, end = blackout['from'], blackout.get('to', blackout['from'])
            day = today.isoformat()[-len(begin):]
            if (begin <= day <= end) if begin <= end else (day >= begin or day <= end): return False
        clock = local.strftime('%H:%M')
        for window in question['windows']:
            days = window.get('days', names)
            begin, end = window['from'], window['to']
            this = names[today.weekday()] in days
            last = names[(today - timedelta(days=1)).weekday()] in days
            if begin < end and begin <= clock < end and this: return True
            if begin > end and ((clock >= begin and this) or (clock < end and last)): return True
        return False
    return [one(at) for at in question['instants']]

KINDS = {'dates': dates, 'allowed': allowed}
print(json.dumps([KINDS[one['ask']](one) for one in json.load(sys.stdin)]))
