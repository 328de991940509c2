-- Visits of the journey offer_follow_up, from the rules of docs/semantics.md (their numbers in parentheses).
-- Reads: events(contact, event, occurred_at, row), instants in UTC to the microsecond, rows in the log's order.
-- Gives: contact, entry, node, arrived_at, left_at, branch; and a row named (exit) for every entry that left.
with

horizon as (select max(occurred_at) as horizon_at from events), -- (35)

-- One entry ever, at the first offer (11, 12).
entered as (
    select contact, min(occurred_at) as entered_at, arg_min(row, (occurred_at, row)) as row
    from events
    where event = 'O_SENT'
    group by contact
),

-- The first event after the trigger, in the contact's order (1), that ends the entry (14).
leaving as (
    select
        entered.contact,
        min(occurred_at) as ended_at,
        arg_min(if(event = 'O_ACCEPTED', 'goal:O_ACCEPTED', event), (occurred_at, events.row)) as text
    from entered
    join events
        on events.contact = entered.contact
        and (events.occurred_at, events.row) > (entered_at, entered.row)
    where event in ('O_ACCEPTED', 'A_CANCELLED')
    group by entered.contact
),

-- What each node would do if nothing ended the entry: arrival, the instant of leaving, the branch.

-- The first reply strictly later than the arrival and no later than the deadline wins (8).
reply as (
    select
        contact,
        entered_at as arrived_at,
        (
            select min(occurred_at)
            from events
            where events.contact = entered.contact
                and event = 'O_SENT_BACK'
                and occurred_at > entered_at
                and occurred_at <= entered_at + interval 240 hour
        ) as answered_at
    from entered
),

-- The reminder is sent at once, as no gate holds it (17), and leads on at the same instant (20).
grace as (
    select
        contact,
        arrived_at + interval 240 hour as arrived_at,
        (
            select min(occurred_at)
            from events
            where events.contact = reply.contact
                and event = 'O_SENT_BACK'
                and occurred_at > arrived_at + interval 240 hour
                and occurred_at <= arrived_at + interval 408 hour
        ) as answered_at
    from reply
    where answered_at is null
),

-- A condition sees all events up to and including its instant (6).
worth as (
    select
        contact,
        answered_at as arrived_at,
        (
            select count(*)
            from events
            where events.contact = answered.contact
                and event = 'O_CREATED'
                and occurred_at <= answered_at
        ) >= 2 as is_several
    from (from reply union all from grace) as answered
    where answered_at is not null
),

ways as (
    select
        contact, 1 as step, 'reply' as node, arrived_at,
        coalesce(answered_at, arrived_at + interval 240 hour) as due_at,
        if(answered_at is null, 'else', 'then') as branch
    from reply
    union all
    select contact, 2, 'remind', arrived_at, arrived_at, 'next' from grace
    union all
    select
        contact, 3, 'grace', arrived_at,
        coalesce(answered_at, arrived_at + interval 168 hour),
        if(answered_at is null, 'else', 'then')
    from grace
    union all
    select contact, 4, 'lost', arrived_at + interval 168 hour, arrived_at + interval 168 hour, null
    from grace
    where answered_at is null
    union all
    select contact, 4, 'worth', arrived_at, arrived_at, if(is_several, 'several', 'single') from worth
    union all
    select
        contact, 5, if(is_several, 'several', 'single'), arrived_at,
        arrived_at + if(is_several, interval 48 hour, interval 24 hour), 'next'
    from worth
    union all
    select
        contact, 6, 'done',
        arrived_at + if(is_several, interval 48 hour, interval 24 hour),
        arrived_at + if(is_several, interval 48 hour, interval 24 hour), null
    from worth
),

-- Leaving comes before everything else of its instant (13, 14): a visit whose end it meets has no branch, and nothing
-- is arrived at from its instant on. The first arrival is the trigger's own (11) and comes before any leaving.
visits as (
    select
        contact,
        step,
        node,
        arrived_at,
        case when leaving.ended_at <= due_at then leaving.ended_at when due_at <= horizon_at then due_at end as left_at,
        case when due_at <= horizon_at and (leaving.ended_at is null or due_at < leaving.ended_at) then branch end as branch
    from ways
    left join leaving using (contact)
    cross join horizon
    where arrived_at <= horizon_at and (step = 1 or leaving.ended_at is null or arrived_at < leaving.ended_at)
)

select contact, 1 as entry, node, arrived_at, left_at, branch from visits
union all
select
    contact, 1, '(exit)', entered_at,
    coalesce(leaving_first.ended_at, finished.left_at),
    coalesce(leaving_first.text, if(finished.node = 'done', 'answered', 'no_answer'))
from entered
left join (select contact, node, left_at from visits where node in ('done', 'lost')) as finished using (contact)
left join leaving as leaving_first
    on leaving_first.contact = entered.contact
    and (finished.left_at is null or leaving_first.ended_at <= finished.left_at)
where leaving_first.ended_at is not null or finished.left_at is not null
