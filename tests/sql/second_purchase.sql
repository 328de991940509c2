-- Visits of the journey second_purchase, from the rules of docs/semantics.md (their numbers in parentheses).
-- Reads: events(contact, event, occurred_at, row, dollar_value), instants in UTC, rows in the log's order.
-- Gives: contact, entry, node, arrived_at, left_at, branch; and a row named (exit) for every entry that left.
with recursive

horizon as (select max(occurred_at) as horizon_at from events), -- (35)

-- Days on which the trigger's condition held (11); a second purchase of one instant can never enter beside the first.
triggers as (select distinct contact, occurred_at as triggered_at from events where dollar_value > 0),

-- At least 180 days after the last entry's start (12). No entry is still running then: none lasts over 150 days.
entries as (
    select contact, min(triggered_at) as entered_at, 1 as entry from triggers group by contact
    union all
    select contact, min(triggered_at), max(entry) + 1
    from entries
    join triggers using (contact)
    where triggered_at >= entered_at + interval 4320 hour
    group by contact
),

-- The wait takes events since the entry's instant: one that is already there lets the contact pass on arrival (8).
look as (
    select
        contact, entry, entered_at + interval 720 hour as arrived_at,
        (
            select min(greatest(occurred_at, entered_at + interval 720 hour))
            from events
            where events.contact = entries.contact
                and dollar_value >= 20
                and occurred_at > entered_at
                and occurred_at <= entered_at + interval 2160 hour
        ) as bought_at
    from entries
),

-- The first clause that holds: a sum over (t - 90d, t], then a count over all history up to t (6).
worth as (
    select
        contact, entry, bought_at as arrived_at,
        case
            when (
                select sum(dollar_value)
                from events
                where events.contact = look.contact
                    and occurred_at > bought_at - interval 2160 hour
                    and occurred_at <= bought_at
            ) >= 100.005 then 'keen' -- between two cents, so that no rounding decides
            when (
                select count(*) from events where events.contact = look.contact and occurred_at <= bought_at
            ) >= 3 then 'regular'
            else 'occasional'
        end as goes
    from look
    where bought_at is not null
),

-- The hint is sent as soon as nobody bought, as no gate holds it (17).
hint as (select contact, entry, arrived_at + interval 1440 hour as arrived_at from look where bought_at is null),

last_call as (
    select
        contact, entry, arrived_at,
        (
            select min(occurred_at)
            from events
            where events.contact = hint.contact
                and occurred_at > arrived_at
                and occurred_at <= arrived_at + interval 1440 hour
        ) as bought_at
    from hint
),

ways as (
    select contact, entry, 'pause' as node, entered_at as arrived_at, entered_at + interval 720 hour as due_at, 'next' as branch
    from entries
    union all
    select
        contact, entry, 'look', arrived_at,
        coalesce(bought_at, arrived_at + interval 1440 hour), if(bought_at is null, 'else', 'then')
    from look
    union all
    select contact, entry, 'worth', arrived_at, arrived_at, goes from worth
    union all
    select contact, entry, goes, arrived_at, arrived_at, null from worth
    union all
    select contact, entry, 'hint', arrived_at, arrived_at, 'next' from hint
    union all
    select
        contact, entry, 'last_call', arrived_at,
        coalesce(bought_at, arrived_at + interval 1440 hour), if(bought_at is null, 'else', 'then')
    from last_call
    union all
    select
        contact, entry, if(bought_at is null, 'lapsed', 'back'),
        coalesce(bought_at, arrived_at + interval 1440 hour),
        coalesce(bought_at, arrived_at + interval 1440 hour), null
    from last_call
),

visits as (
    select
        contact, entry, node, arrived_at,
        case when due_at <= horizon_at then due_at end as left_at,
        case when due_at <= horizon_at then branch end as branch
    from ways
    cross join horizon
    where arrived_at <= horizon_at
)

from visits
union all
select contact, entry, '(exit)', entered_at, left_at, node
from visits
join entries using (contact, entry)
where node in ('keen', 'regular', 'occasional', 'back', 'lapsed')
