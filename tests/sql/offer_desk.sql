-- Visits of the journey offer_desk, from the rules of docs/semantics.md (their numbers in parentheses).
-- Reads: events(contact, event, occurred_at, row), instants in UTC to the microsecond, rows in the log's order.
-- Gives: contact, entry, node, arrived_at, left_at, branch; and a row named (exit) for every entry that left.
with recursive

horizon as (select max(occurred_at) as horizon_at from events), -- (35)

-- What would become of an entry at every offer; which of them make entries is decided below.
offers as (
    select contact, occurred_at as offered_at, row_number() over (partition by contact order by occurred_at, row) as n
    from events
    where event = 'O_SENT'
),

awaited(event, listed, goes) as (
    values ('O_SENT_BACK', 1, 'back'), ('O_CANCELLED', 2, 'withdrawn'), ('A_DECLINED', 3, 'declined')
),

-- The earliest awaited event after the arrival and no later than the deadline; of one instant the one listed first (8, 10).
desk as (
    select
        contact, n, offered_at,
        min(occurred_at) as answered_at,
        arg_min(goes, (occurred_at, listed)) as goes
    from offers
    left join (select contact, occurred_at, listed, goes from events join awaited using (event)) as answers
        using (contact)
    where occurred_at > offered_at and occurred_at <= offered_at + interval 336 hour
    group by all
),

-- Nobody answered: the offer is chased, and from that instant two of the answers are awaited once more.
chased as (
    select contact, n, offered_at + interval 336 hour as chased_at
    from offers
    anti join desk using (contact, n)
),

last_call as (
    select
        contact, n, chased_at,
        min(occurred_at) as answered_at,
        arg_min(goes, (occurred_at, listed)) as goes
    from chased
    left join (select contact, occurred_at, listed, goes from events join awaited using (event) where listed < 3)
        as answers using (contact)
    where occurred_at > chased_at and occurred_at <= chased_at + interval 504 hour
    group by all
),

ended as (
    select
        offers.contact, offers.n, offers.offered_at,
        coalesce(desk.answered_at, last_call.answered_at, offers.offered_at + interval 840 hour) as end_at,
        coalesce(desk.goes, last_call.goes, 'silent') as exit
    from offers
    left join desk using (contact, n)
    left join last_call using (contact, n)
),

-- Re-entry after the exit (12). At one instant entering comes before the steps that end an entry (13), so the next
-- offer that counts is strictly later than the end.
entries as (
    select contact, n, 1 as entry, offered_at, end_at, exit
    from ended
    where n = 1
    union all
    select contact, later.n, entry + 1, later.offered_at, later.end_at, later.exit
    from entries
    join ended as later using (contact)
    where later.offered_at > entries.end_at
    qualify row_number() over (partition by contact order by later.n) = 1
),

ways as (
    select
        contact, entry, 'desk' as node, entries.offered_at as arrived_at,
        coalesce(answered_at, entries.offered_at + interval 336 hour) as due_at,
        coalesce(desk.goes, 'else') as branch
    from entries
    left join desk using (contact, n)
    union all
    -- No gate holds the message (17).
    select contact, entry, 'chase', chased_at, chased_at, 'next'
    from entries
    join chased using (contact, n)
    union all
    select
        contact, entry, 'last_call', chased.chased_at,
        coalesce(answered_at, chased.chased_at + interval 504 hour), coalesce(last_call.goes, 'else')
    from entries
    join chased using (contact, n)
    left join last_call using (contact, n)
    union all
    select contact, entry, exit, end_at, end_at, null from entries
)

select
    contact, entry, node, arrived_at,
    case when due_at <= horizon_at then due_at end as left_at,
    case when due_at <= horizon_at then branch end as branch
from ways
cross join horizon
where arrived_at <= horizon_at
union all
select contact, entry, '(exit)', entries.offered_at, end_at, exit
from entries
cross join horizon
where end_at <= horizon_at
