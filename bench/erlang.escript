#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%%
%% The bench's comparison with Erlang's erpc: a fleet of nodes on loopback, of which one calls, and all run.
%%
%%   escript erlang.escript what nodes bytes count
%%
%% what: multicall  {"us":[...]}: erpc:multicall, until all have answered, for each of `count` messages
%%       multicast  {"us":[...]}: erpc:multicast, from before the message is made until the last node has run it, likewise
%%       sustained  {"messages":N,"deliveries":N,"seconds":S}: `count` multicasts one after the other, until all nodes have run
%%                  all
%%
%% A run verifies the HMAC-SHA256 of a message of `bytes` bytes.  It parses no JSON: OTP has no parser before 27.
%%
%% All nodes, the calling one too, are peers that are led over their standard input, so they end with this process, however it
%% ends.  They have an epmd of their own, on a port of its own, that ends likewise.  Needs OTP 25 with crypto (Debian:
%% erlang-base, erlang-crypto).
-module(bench_erlang).
-mode(compile).
-export([main/1, prepare/1, measure/4, run/2, run/3, count/2, counted/0]).

-define(PATIENCE, 60000). % milliseconds without any progress
-define(LOOK, 1).         % milliseconds between two looks at the counters
-define(PAUSE, 2).        % milliseconds between two messages that are timed one by one
-define(WARM, 20).        % messages before those that count
-define(LEAST, 8).        % bytes of a message: its number

main([What, Nodes, Bytes, Count]) ->
    try
        measured(list_to_atom(What), number(Nodes, 1), number(Bytes, ?LEAST), number(Count, 0))
    of
        Line -> io:put_chars([Line, "\n"])
    catch
        throw:Words -> fail(Words);
        _:Reason:Stack -> fail(io_lib:format("~p~n~p", [Reason, Stack]))
    end;
main(_) ->
    fail("usage: erlang.escript multicall|multicast|sustained nodes bytes count").

fail(Words) ->
    io:put_chars(standard_error, [Words, "\n"]),
    halt(1).

number(Text, Least) ->
    case string:to_integer(Text) of
        {N, ""} when is_integer(N), N >= Least -> N;
        _ -> throw(io_lib:format("'~s' must be a number, at least ~b", [Text, Least]))
    end.

measured(What, Count, Bytes, Messages) when What =:= multicall; What =:= multicast; What =:= sustained ->
    {ok, Sections} = escript:extract(escript:script_name(), [compile_source]),
    {source, Code} = lists:keyfind(source, 1, Sections),
    {Epmd, Port} = start_epmd(),
    {[Caller | _] = Peers, Nodes} = lists:unzip([start_node(N, Port, Code) || N <- lists:seq(1, Count)]),
    Line = peer:call(Caller, ?MODULE, measure, [What, Nodes, Bytes, Messages], infinity),
    [peer:stop(Peer) || Peer <- Peers],
    port_close(Epmd),
    Line;
measured(What, _, _, _) ->
    throw(io_lib:format("what is '~s': multicall, multicast or sustained", [What])).

%% The shell ends it when its own input ends.
start_epmd() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Socket),
    gen_tcp:close(Socket),
    Command = lists:flatten(io_lib:format("epmd -address 127.0.0.1 -port ~b & read end; kill $!", [Port])),
    Epmd = open_port({spawn_executable, "/bin/sh"}, [{args, ["-c", Command]}]),
    wait_for_epmd(Port, erlang:monotonic_time(millisecond) + ?PATIENCE),
    {Epmd, Port}.

wait_for_epmd(Port, Deadline) ->
    case gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]) of
        {ok, Socket} ->
            ok = gen_tcp:send(Socket, <<1:16, $n>>), % which names are there: it complains about a connection without a request
            {ok, _} = gen_tcp:recv(Socket, 0, ?PATIENCE),
            gen_tcp:close(Socket);
        {error, Reason} ->
            erlang:monotonic_time(millisecond) < Deadline orelse throw(io_lib:format("epmd on port ~b: ~p", [Port, Reason])),
            timer:sleep(10),
            wait_for_epmd(Port, Deadline)
    end.

start_node(N, EpmdPort, Code) ->
    {ok, Peer, Node} = peer:start_link(#{
        name => lists:concat(["n", N]),
        host => "127.0.0.1",
        longnames => true,
        connection => standard_io,
        wait_boot => ?PATIENCE,
        env => [{"ERL_EPMD_PORT", integer_to_list(EpmdPort)}],
        args => ["-hidden", "-start_epmd", "false", "-setcookie", "bench", "-kernel", "inet_dist_use_interface", "{127,0,0,1}"]
    }),
    {module, ?MODULE} = peer:call(Peer, code, load_binary, [?MODULE, "erlang.escript", Code]),
    {Peer, Node}.

%% From here on, all runs on the nodes.

%% Crypto's code is loaded here, not when it is first measured.
prepare(Key) ->
    _ = crypto:mac(hmac, sha256, Key, <<>>),
    persistent_term:put(?MODULE, {Key, counters:new(2, [])}).

run(Mac, Body) ->
    {Key, _} = persistent_term:get(?MODULE),
    true = crypto:hash_equals(Mac, crypto:mac(hmac, sha256, Key, Body)),
    byte_size(Body).

run(Mac, Body, Caller) ->
    run(Mac, Body),
    Caller ! {ran, now_us()}.

count(Mac, Body) ->
    run(Mac, Body),
    {_, Counters} = persistent_term:get(?MODULE),
    counters:put(Counters, 2, now_us()),
    counters:add(Counters, 1, 1).

%% @returns how many messages this node has counted, and when the last
counted() ->
    {_, Counters} = persistent_term:get(?MODULE),
    {counters:get(Counters, 1), counters:get(Counters, 2)}.

%% Not erlang:system_time, whose offset each node keeps for itself.
now_us() ->
    os:system_time(microsecond).

message(N, Key, Bytes) ->
    Body = <<N:(?LEAST * 8), 0:((Bytes - ?LEAST) * 8)>>,
    [crypto:mac(hmac, sha256, Key, Body), Body].

on_all(Nodes, Function, Arguments) ->
    [case Result of
        {ok, Value} -> Value;
        _ -> throw(io_lib:format("~p: ~p", [Node, Result]))
     end || {Node, Result} <- lists:zip(Nodes, erpc:multicall(Nodes, ?MODULE, Function, Arguments, ?PATIENCE))].

measure(What, Nodes, Bytes, Count) ->
    Key = crypto:strong_rand_bytes(32),
    on_all(Nodes, prepare, [Key]),
    measure(What, Nodes, Key, Bytes, Count).

measure(sustained, Nodes, Key, Bytes, Count) ->
    [on_all(Nodes, run, message(N, Key, Bytes)) || N <- lists:seq(1, ?WARM)],
    Start = now_us(),
    [erpc:multicast(Nodes, ?MODULE, count, message(N, Key, Bytes)) || N <- lists:seq(1, Count)],
    Last = wait_for(Nodes, Count, 0, erlang:monotonic_time(millisecond)),
    io_lib:format("{\"messages\":~b,\"deliveries\":~b,\"seconds\":~.6f}",
                  [Count, Count * length(Nodes), (Last - Start) / 1.0e6]);
measure(What, Nodes, Key, Bytes, Count) ->
    Times = [begin
                timer:sleep(?PAUSE),
                timed(What, Nodes, Key, Bytes, N)
             end || N <- lists:seq(1, ?WARM + Count)],
    Texts = [integer_to_list(Time) || Time <- lists:nthtail(?WARM, Times)],
    ["{\"us\":[", lists:join(",", Texts), "]}"].

timed(multicall, Nodes, Key, Bytes, N) ->
    Start = now_us(),
    Sizes = on_all(Nodes, run, message(N, Key, Bytes)),
    End = now_us(),
    [] = [Size || Size <- Sizes, Size =/= Bytes],
    End - Start;
timed(multicast, Nodes, Key, Bytes, N) ->
    Start = now_us(),
    erpc:multicast(Nodes, ?MODULE, run, message(N, Key, Bytes) ++ [self()]),
    lists:max([receive {ran, At} -> At after ?PATIENCE -> throw("a node has not run a message") end || _ <- Nodes]) - Start.

%% @returns when the last node has run its last message
wait_for(Nodes, Count, Seen, Moved) ->
    {Handled, Times} = lists:unzip(on_all(Nodes, counted, [])),
    Sum = lists:sum(Handled),
    Now = erlang:monotonic_time(millisecond),
    if
        Sum =:= Count * length(Nodes) ->
            lists:max(Times);
        Sum =:= Seen, Now - Moved > ?PATIENCE ->
            throw(io_lib:format("~b of ~b deliveries came, and then none for ~b ms", [Sum, Count * length(Nodes), ?PATIENCE]));
        true ->
            timer:sleep(?LOOK),
            wait_for(Nodes, Count, Sum, if Sum =:= Seen -> Moved; true -> Now end)
    end.
