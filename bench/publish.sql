-- What an analyst would write who knows this one company: no merges, no deletions, no changed owners, no gaps in
-- histories, one caller one card. Marts as tables first, for they feed each other; `publish.py` copies them out.

CREATE TEMP TABLE member AS
WITH contact_client AS (
    SELECT contact_id, coalesce(c.company_id, t.contact_id) AS client_id, responsible_user_id, created_at
    FROM contact t LEFT JOIN (SELECT company_id FROM company) c USING (company_id)
), listed AS (
    SELECT deal_id, min_by(contact_id, position) AS contact_id FROM deal_contact GROUP BY deal_id
)
SELECT contact_id AS entity_id, 'contact' AS entity_kind, client_id, responsible_user_id, created_at FROM contact_client
UNION ALL SELECT company_id, 'company', company_id, responsible_user_id, created_at FROM company
UNION ALL SELECT d.deal_id, d.entity_kind, coalesce(c.client_id, d.deal_id), d.responsible_user_id, d.created_at
FROM deal d LEFT JOIN listed l USING (deal_id)
LEFT JOIN contact_client c ON c.contact_id = coalesce(d.main_contact_id, l.contact_id);

CREATE TEMP TABLE stage_interval AS
WITH visit AS (
    SELECT deal_id, 0 AS k, '' AS change_id, coalesce(m.from_pipeline_id, d.pipeline_id) AS pipeline_id,
        coalesce(m.from_stage_id, d.stage_id) AS stage_id, d.created_at AS entered_at
    FROM deal d LEFT JOIN (
        SELECT deal_id, min_by(from_pipeline_id, (changed_at, change_id)) AS from_pipeline_id,
            min_by(from_stage_id, (changed_at, change_id)) AS from_stage_id
        FROM deal_stage_transition GROUP BY deal_id
    ) m USING (deal_id)
    UNION ALL SELECT deal_id, 1, change_id, to_pipeline_id, to_stage_id, changed_at FROM deal_stage_transition
), numbered AS (
    SELECT v.*, s.kind AS stage_kind, s.sort AS stage_sort, row_number() OVER w AS n, lead(entered_at) OVER w AS left_at,
        lead(v.pipeline_id) OVER w AS next_pipeline_id, lead(v.stage_id) OVER w AS next_stage_id,
        lead(s.kind) OVER w AS next_kind
    FROM visit v LEFT JOIN stage s ON s.pipeline_id = v.pipeline_id AND s.stage_id = v.stage_id
    WINDOW w AS (PARTITION BY deal_id ORDER BY k, entered_at, change_id)
)
SELECT n.* EXCLUDE (k, change_id), row_number() OVER (PARTITION BY deal_id, n.pipeline_id, n.stage_id ORDER BY n) AS
    visit_no, d.responsible_user_id AS owner_user_id, FALSE AS is_inferred, FALSE AS is_truncated,
    coalesce(left_at - entered_at < INTERVAL 60 SECOND, FALSE) AS is_pass_through
FROM numbered n JOIN deal d USING (deal_id);

CREATE TEMP TABLE deal_state AS
WITH last AS (
    SELECT deal_id, max_by(stage_kind, n) AS outcome, max(n) AS last_n, max_by(entered_at, n) AS outcome_at,
        max_by(stage_id, n) FILTER (stage_kind = 'open') AS open_stage_id
    FROM stage_interval GROUP BY deal_id
)
SELECT d.deal_id, m.client_id, d.entity_kind, d.pipeline_id, d.stage_id, l.outcome, d.responsible_user_id, d.source_id,
    CASE WHEN l.outcome = 'lost' THEN d.loss_reason_id END AS loss_reason_id,
    CASE WHEN d.amount_minor <> 0 OR l.outcome = 'won' THEN d.amount_minor END AS amount_minor, d.created_at,
    d.created_at AS entered_pipeline_at, CASE WHEN l.outcome <> 'open' THEN l.outcome_at END AS outcome_at,
    d.responsible_user_id AS outcome_user_id, CASE WHEN l.outcome = 'lost' THEN l.open_stage_id END AS
    lost_from_stage_id, 0::BIGINT AS n_reopened, d.entity_kind = 'deal' AS is_sales, l.last_n
FROM deal d JOIN last l USING (deal_id) JOIN member m ON m.entity_id = d.deal_id;

CREATE TEMP TABLE sale AS
SELECT deal_id || '#' || last_n AS sale_id, 'won_deal' AS basis, client_id, deal_id, outcome_user_id AS user_id,
    outcome_at AS sold_at, amount_minor, outcome_at AS valid_from, NULL::TIMESTAMPTZ AS valid_until
FROM deal_state WHERE outcome = 'won';

-- step 1 of R-DEDUP: records of one id within five minutes; step 2 finds nothing where every record has an id
CREATE TEMP TABLE record AS
WITH near AS (
    SELECT *, coalesce(started_at - lag(started_at) OVER w > INTERVAL 300 SECOND, TRUE) AS is_new
    FROM call
    WINDOW w AS (PARTITION BY external_uniq, provider, direction, user_id, phone_key ORDER BY started_at, call_id)
), grouped AS (
    SELECT *, sum(is_new::INT) OVER (
        PARTITION BY external_uniq, provider, direction, user_id, phone_key ORDER BY started_at, call_id
    ) AS session FROM near
)
SELECT call_id, min(call_id) OVER w AS kept_id, min(started_at) OVER w AS began_at, direction, subtype, is_internal,
    wait_s, talk_s, status, user_id, phone_key, phone_digits, line, entity_kind, entity_id, contact_id, company_id,
    deal_id, coalesce(recording_url, '') <> '' AS has_recording
FROM grouped WINDOW w AS (PARTITION BY external_uniq, provider, direction, user_id, phone_key, session);

-- step 3: inbound legs of one phone and line that overlap or follow within five seconds
CREATE TEMP TABLE leg AS
WITH busy AS (
    SELECT *, epoch(began_at)::BIGINT AS began, max(epoch(began_at)::BIGINT + coalesce(wait_s, 0) + coalesce(talk_s, 0))
        OVER (PARTITION BY phone_key, line ORDER BY began_at, call_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        AS busy_until
    FROM record WHERE call_id = kept_id AND direction = 'in'
), numbered AS (
    SELECT * EXCLUDE (busy_until), sum(coalesce(began > busy_until + 5, TRUE)::INT)
        OVER (PARTITION BY phone_key, line ORDER BY began_at, call_id) AS episode
    FROM busy
)
SELECT *, first_value(call_id) OVER (PARTITION BY phone_key, line, episode ORDER BY began_at, call_id) AS episode_id
FROM numbered
UNION ALL
SELECT *, epoch(began_at)::BIGINT, 0, call_id FROM record WHERE call_id = kept_id AND direction <> 'in';

CREATE TEMP TABLE call_episode_leg AS
SELECT r.call_id, l.episode_id, r.call_id <> r.kept_id AS is_duplicate
FROM record r JOIN leg l ON l.call_id = r.kept_id;

CREATE TEMP TABLE joined AS
SELECT episode_id, any_value(direction) AS direction, bool_or(status = 'answered') AS is_answered, min(began_at) AS
    started_at, coalesce(min(began + wait_s) FILTER (status = 'answered'), max(began + wait_s)) - min(began) AS wait_s,
    coalesce(sum(talk_s) FILTER (status = 'answered'), 0)::BIGINT AS talk_s, count(*) AS n_legs,
    count(DISTINCT user_id) AS n_users, min(user_id) AS only_user_id,
    arg_max(user_id, (talk_s, -began)) FILTER (status = 'answered') AS talker_id, min_by(line, began) AS line,
    any_value(phone_key) AS phone_key, max(phone_digits) AS phone_digits, bool_or(is_internal) AS is_internal,
    bool_or(subtype = 'robot') AS is_robot, bool_or(status = 'voicemail') AS is_voicemail,
    bool_or(has_recording) AS has_recording, min_by(entity_kind, (began, call_id)) AS card_kind,
    min_by(entity_id, (began, call_id)) AS card_id, min_by(contact_id, (began, call_id)) AS contact_id,
    min_by(deal_id, (began, call_id)) AS named_id
FROM leg GROUP BY episode_id;

CREATE TEMP TABLE phone_owner AS
SELECT phone_key, min(client_id) AS client_id FROM client_phone p JOIN member m USING (entity_id)
GROUP BY phone_key HAVING count(DISTINCT client_id) = 1;

CREATE TEMP TABLE linked AS
SELECT e.*, CASE WHEN e.contact_id IS NULL AND e.card_id IS NULL THEN o.client_id ELSE m.client_id END AS client_id
FROM joined e LEFT JOIN member m ON m.entity_id = coalesce(e.contact_id, e.card_id)
LEFT JOIN phone_owner o ON o.phone_key = e.phone_key;

CREATE TEMP TABLE attributed AS
SELECT e.episode_id, max_by(d.deal_id, (d.created_at, d.deal_id)) AS deal_id
FROM linked e JOIN deal_state d ON d.client_id = e.client_id AND d.created_at <= e.started_at
    AND (d.outcome_at IS NULL OR d.outcome_at > e.started_at)
WHERE e.named_id IS NULL GROUP BY e.episode_id;

CREATE TEMP TABLE call_episode AS
WITH doubles AS (SELECT episode_id, sum(is_duplicate::INT)::BIGINT AS n_dup_removed FROM call_episode_leg GROUP BY 1),
thread AS (SELECT phone_key, min(client_id) AS thread_key FROM linked WHERE client_id IS NOT NULL GROUP BY 1)
SELECT e.episode_id, e.direction, e.is_answered, e.started_at, e.wait_s, e.talk_s, e.n_legs,
    CASE WHEN e.is_answered THEN e.talker_id WHEN e.n_users = 1 THEN e.only_user_id END AS user_id,
    CASE WHEN e.direction = 'in' AND e.n_users = 1 THEN e.only_user_id END AS rung_user_id,
    CASE WHEN e.direction = 'in' THEN e.n_users ELSE 0 END AS n_rung, e.line, e.phone_key, e.phone_digits, e.client_id,
    coalesce(e.client_id, t.thread_key, e.phone_key) AS thread_key, coalesce(e.named_id, a.deal_id) AS deal_id,
    CASE WHEN e.named_id IS NOT NULL THEN 'named' WHEN a.deal_id IS NOT NULL THEN 'open_deal' END AS deal_rule,
    e.card_kind, e.card_id, c.responsible_user_id, e.is_internal, e.is_robot, FALSE AS is_spam,
    e.is_voicemail AND NOT e.is_answered AS is_voicemail, e.has_recording, n.n_dup_removed
FROM linked e LEFT JOIN attributed a USING (episode_id) LEFT JOIN doubles n USING (episode_id)
LEFT JOIN thread t ON t.phone_key = e.phone_key LEFT JOIN member c ON c.entity_id = e.client_id;

CREATE TEMP TABLE touch AS
WITH other AS (
    SELECT 'message:' || message_id AS touch_id, m.client_id, t.user_id, t.sent_at AS touched_at, 'message' AS kind,
        t.direction, NULL AS deal_id
    FROM message t JOIN member m ON m.entity_id = t.contact_id WHERE t.author IN ('client', 'user')
    UNION ALL
    SELECT 'task:' || task_id, m.client_id, t.responsible_user_id, t.completed_at, 'meeting', NULL, t.entity_id
    FROM task t JOIN member m ON m.entity_id = t.entity_id
    WHERE t.kind = 'meeting' AND t.is_completed AND t.completed_at <= getvariable('as_of')
), placed AS (
    SELECT o.touch_id, max_by(d.deal_id, (d.created_at, d.deal_id)) AS open_id
    FROM other o JOIN deal_state d ON d.client_id = o.client_id AND d.created_at <= o.touched_at
        AND (d.outcome_at IS NULL OR d.outcome_at > o.touched_at)
    WHERE o.deal_id IS NULL GROUP BY o.touch_id
)
SELECT 'call:' || episode_id AS touch_id, client_id, user_id, started_at AS touched_at, 'call' AS kind, direction,
    is_answered AND talk_s >= 10 AS is_meaningful, NOT is_answered AND direction = 'out' AS is_attempt, 1.0::DOUBLE AS
    weight, deal_id
FROM call_episode
WHERE (is_answered OR direction = 'out') AND NOT is_internal AND NOT is_robot AND client_id IS NOT NULL
UNION ALL
SELECT touch_id, client_id, user_id, touched_at, kind, direction, TRUE, FALSE, 1.0::DOUBLE, coalesce(deal_id, open_id)
FROM other LEFT JOIN placed USING (touch_id);

CREATE TEMP TABLE client_member AS SELECT entity_id, entity_kind, client_id FROM member;

CREATE TEMP TABLE client AS
WITH of_client AS (SELECT client_id, min(created_at) AS created_at FROM member GROUP BY client_id),
touched AS (SELECT client_id, min(touched_at) AS first_touch_at FROM touch WHERE is_meaningful GROUP BY client_id),
won AS (SELECT client_id, min(sold_at) AS first_won_at FROM sale GROUP BY client_id)
SELECT o.client_id, split_part(o.client_id, ':', 1) AS kind, m.responsible_user_id, o.created_at, first_touch_at,
    first_won_at, FALSE AS is_spam, FALSE AS is_stop_listed, FALSE AS is_deleted
FROM of_client o JOIN member m ON m.entity_id = o.client_id LEFT JOIN touched t ON t.client_id = o.client_id
LEFT JOIN won w ON w.client_id = o.client_id;
