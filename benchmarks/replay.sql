-- The nine-node journey of replay.py, by hand: the number of contacts on each branch of each node.
with entered as (  -- trigger: the first signup with plan = 'trial'; the hello is sent at once
    select contact, min(occurred_at) as entered_at from events where event = 'signup' and plan = 'trial' group by contact
), opened as (  -- read: the first open of the hello within three days
    select e.contact, e.entered_at, min(o.occurred_at) as opened_at
    from entered e
    left join events o on o.contact = e.contact and o.event = 'opened' and o.message = 'welcome_1'
        and o.occurred_at > e.entered_at and o.occurred_at <= e.entered_at + interval 3 days
    group by e.contact, e.entered_at
), visited as (  -- offer: visits of the thirty days up to the open
    select o.contact, count(v.contact) as n_visits
    from opened o
    left join events v on v.contact = o.contact and v.event = 'visit'
        and v.occurred_at > o.opened_at - interval 30 days and v.occurred_at <= o.opened_at
    where o.opened_at is not null
    group by o.contact
), sent as (  -- deal and plain at the open; remind two days after the three days without one
    select o.contact, o.opened_at is not null as is_open, coalesce(v.n_visits, 0) >= 3 as is_deal,
        coalesce(o.opened_at, o.entered_at + interval 5 days) as sent_at
    from opened o left join visited v on v.contact = o.contact
), bought as (  -- bought: a purchase within seven days
    select s.contact, s.is_open, s.is_deal, s.sent_at, min(p.occurred_at) as bought_at
    from sent s
    left join events p on p.contact = s.contact and p.event = 'purchase'
        and p.occurred_at > s.sent_at and p.occurred_at <= s.sent_at + interval 7 days
    group by s.contact, s.is_open, s.is_deal, s.sent_at
), horizon as (select max(occurred_at) as until from events)
select
    count(*) as hello_next,
    count(*) filter (where is_open) as read_then,
    count(*) filter (where not is_open and sent_at - interval 2 days <= until) as read_else,
    count(*) filter (where is_open and is_deal) as offer_deal,
    count(*) filter (where is_open and not is_deal) as offer_plain,
    count(*) filter (where not is_open and sent_at <= until) as nudge_next,
    count(*) filter (where bought_at is not null) as bought_then,
    count(*) filter (where bought_at is null and sent_at + interval 7 days <= until) as bought_else
from bought, horizon
