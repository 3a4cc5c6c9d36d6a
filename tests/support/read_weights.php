<?php
// Answers as the site does, from weights.json alone: one JSON row a line in, its probabilities a line out.
$data = json_decode(file_get_contents($argv[1]), true);
$map = $data['metadata']['dist_map'];
$w = $data['state_dict'];

function layer(array $x, array $weight, array $bias): array {
    $out = [];
    foreach ($weight as $i => $row) {
        $sum = $bias[$i];
        foreach ($row as $j => $value) {
            $sum += $value * $x[$j];
        }
        $out[] = $sum;
    }
    return $out;
}

while (($line = fgets(STDIN)) !== false) {
    $row = json_decode($line, true);
    $index = $map[(string) $row['distance']] ?? $map['Unknown'];
    $x = array_merge(array_values(unpack('g*', base64_decode($row['embeddings']))), $w['dist_emb.weight'][$index]);
    $hidden = array_map(fn ($v) => max(0, $v), layer($x, $w['fc.0.weight'], $w['fc.0.bias']));
    $logits = layer($hidden, $w['fc.3.weight'], $w['fc.3.bias']);
    $scores = array_map(fn ($v) => 1 / (1 + exp(-$v)), $logits);
    echo json_encode(array_combine($data['metadata']['classes'], $scores)), "\n";
}
